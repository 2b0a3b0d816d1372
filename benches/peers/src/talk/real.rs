//! sealmq as its users have it: the library's client core, which verifies everything. For subscribers
//! whose own cost is to be known.

use std::rc::Rc;

use anyhow::{Result, anyhow, bail};
use sealmq::base::names::TopicFilter;
use sealmq::base::transmit::Transmit;
use sealmq::client::pins::Pins;
use sealmq::client::{Answer, Client, ClientConfig, ClientIdentity, Event};
use sealmq::net::{Clock, SystemEntropy};
use sealmq::wire::values::Start;

use super::{Errand, Seen, Talk, number_of};
use crate::pki::Pki;

pub struct Real {
    core: Client,
    clock: Clock,
    out: Transmit,
}

impl Real {
    pub fn new(pki: &Rc<Pki>, errand: &Errand) -> Result<Real> {
        let own = pki.identity(errand.number);
        let identity = ClientIdentity { certificate: own.certificate.clone(), key: own.key.clone() };
        let config = ClientConfig { host: "localhost".into(), ..ClientConfig::default() };
        let entropy = Box::new(SystemEntropy::new()?);
        let (mut core, clock) =
            (Client::new(config, identity, pki.trust.clone(), Pins::default(), entropy), Clock::new());
        core.connect(clock.now());
        if let Some(topic) = errand.subscribe {
            core.subscribe(TopicFilter::parse(topic).map_err(|e| anyhow!("{e}"))?, Start::Latest);
        }
        Ok(Real { core, clock, out: Transmit::new() })
    }
}

impl Talk for Real {
    fn take(&mut self, bytes: &[u8], seen: &mut Seen) -> Result<()> {
        self.core.handle_bytes(bytes, self.clock.now());
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Message(message) => {
                    seen.deliver(
                        number_of(&message.content).ok_or_else(|| anyhow!("a message without a number"))?,
                    )?;
                }
                Event::Answer { result: Ok(Answer::Subscribed { .. }), .. } => seen.is_ready = true,
                Event::Answer { result: Err(failure), .. } => bail!("refused: {failure}"),
                Event::Integrity(fault) => bail!("not believed: {fault:?}"),
                Event::Disconnected { reason, .. } => bail!("the connection has ended: {reason}"),
                Event::Gap { from, to, .. } => bail!("messages {from} to {to} are no longer kept"),
                _ => {}
            }
        }
        Ok(())
    }

    fn give(&mut self, out: &mut Vec<u8>) -> Result<()> {
        while self.core.poll_transmit(self.clock.now(), &mut self.out) {
            out.append(&mut self.out.take_all());
        }
        Ok(())
    }

    fn publish(&mut self, _count: u64) -> Result<()> {
        bail!("a real client subscribes here, and publishes nothing")
    }
}
