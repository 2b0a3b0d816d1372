//! A broker's life: from its files to its end.

use std::io::{self, Write};

use super::Settings;
use super::log_sink::Sink;
use super::material::{self, Material, Places};
use crate::base::Now;
use crate::broker::{Broker, Identity};
use crate::cli::error::{CliError, Exit};
use crate::crypto::cert::Trust;
use crate::net::broker::{
    ListenError, Listeners, News, Poller, Server, Watch, connections_within, raise_limit, survive_size_limits,
};
use crate::net::{Clock, SystemEntropy};

/// Serves until it is told to end.
pub fn serve(settings: &Settings) -> Result<(), CliError> {
    let sink = Sink::install(settings.log_file.as_deref(), settings.log_level).map_err(|e| {
        let file =
            settings.log_file.as_ref().map_or("standard error".into(), |path| path.display().to_string());
        CliError::other(format!("cannot write the log to {file}: {e}"))
    })?;
    let served = start(settings).and_then(|mut running| running.run(&sink));
    if let Err(e) = &served
        && settings.log_file.is_some()
    {
        log::error!("{e}");
    }
    sink.finish();
    served
}

/// A broker that serves, and what it was made from.
struct Running<'a> {
    settings: &'a Settings,
    server: Server,
    /// What is in force; the core has its own copy.
    trust: Trust,
    certificate_der: Vec<u8>,
}

fn start(settings: &Settings) -> Result<Running<'_>, CliError> {
    let places = &settings.places;
    let clock = Clock::new();
    let now = clock.now();
    // Before the files are read, so that a change from now on is found.
    let watch = Watch::new(places.watched(), now.mono);
    let Material { identity, trust, warnings } = material::load(places, now.wall)?;
    warnings.iter().for_each(|warning| log::warn!("{warning}"));

    survive_size_limits().map_err(cannot_poll)?;
    let poller = Poller::new().map_err(cannot_poll)?;
    // Clients that come before it is open find nobody, and come again.
    let (store, contents) = settings.storage.open(settings.config.caps(), &poller)?;
    // Opening it may have taken its time.
    let now = clock.now();
    keep_crl_number(places, &trust);

    let descriptors = raise_limit();
    let listeners = Listeners::bind(&settings.listen).map_err(cannot_listen)?;
    let mut config = settings.config.broker();
    let fitting = connections_within(descriptors, config.connections_max, listeners.len());
    if fitting < config.connections_max {
        let wanted = config.connections_max;
        log::warn!("{descriptors} open files are allowed: at most {fitting} connections, not {wanted}");
        config.connections_max = fitting;
    }

    let entropy = SystemEntropy::new().map_err(|e| CliError::other(e.to_string()))?;
    let certificate_der = identity.certificate.der().to_vec();
    log_identity(&identity);
    let mut core = Broker::new(config, identity, trust.clone(), store, Box::new(entropy), now);
    core.restore(contents, now).map_err(|fault| settings.storage.not_restored(&fault))?;
    know_clients(places, &trust, &mut core, now);
    let server = Server::new(poller, core, clock, listeners, watch).map_err(cannot_poll)?;
    announce(&server)?;
    Ok(Running { settings, server, trust, certificate_der })
}

impl Running<'_> {
    fn run(&mut self, sink: &Sink) -> Result<(), CliError> {
        loop {
            let news = self.server.run().map_err(|e| CliError::other(format!("the poll has failed: {e}")))?;
            match news {
                News::FilesChanged => self.reload(),
                News::ReloadAsked => {
                    log::info!("reading certificates and revocation list again, as SIGHUP asks");
                    sink.reopen();
                    self.reload();
                }
                News::Stopped => {
                    log::info!("ended");
                    return Ok(());
                }
                News::StoreFailed => return Err(self.store_failed()),
            }
        }
    }

    fn store_failed(&self) -> CliError {
        let why = self.server.core().store_failure().unwrap_or("for no reason that is known");
        let problem = format!(
            "the disk that has {} has failed: {why}. The broker has stopped: nothing answered is lost; \
             what was not answered may or may not be on disk",
            self.settings.places.data.display()
        );
        CliError::new(Exit::Disk, problem).remedy(
            "look at the disk (dmesg | tail, smartctl -a), copy the folder to a good one if it is ending, \
             and start again: publishers then send again what was not answered",
        )
    }

    /// Takes over what has changed; on any fault all stays as it was.
    fn reload(&mut self) {
        let places = &self.settings.places;
        let now = self.server.now();
        let Material { identity, trust, warnings } = match material::load_again(places, &self.trust, now.wall)
        {
            Ok(material) => material,
            Err(e) => {
                log::error!("nothing is taken over, the certificates and the list before stay in force: {e}");
                return;
            }
        };
        warnings.iter().for_each(|warning| log::warn!("{warning}"));
        keep_crl_number(places, &trust);
        let new_list = trust.crl_der() != self.trust.crl_der();
        let new_certificate = identity.certificate.der() != self.certificate_der;
        if new_list {
            log::info!("a new revocation list, number {}", trust.crl_number().unwrap_or_default());
        }
        let identity = new_certificate.then(|| {
            log_identity(&identity);
            self.certificate_der = identity.certificate.der().to_vec();
            identity
        });
        let core = self.server.core_mut();
        if new_list || new_certificate {
            core.reload(identity, trust.clone(), now);
        }
        know_clients(places, &trust, core, now);
        self.trust = trust;
    }
}

/// Makes the folder's clients known; those that are not good are named and left out.
fn know_clients(places: &Places, trust: &Trust, core: &mut Broker, now: Now) {
    let files = match material::known_clients(places, trust) {
        Ok(files) => files,
        Err(e) => {
            log::warn!("no clients are known before they connect: {e}");
            return;
        }
    };
    let mut known = 0;
    for file in files {
        let path = file.path.display();
        match file.der {
            Err(e) => log::warn!("left out: {e}"),
            Ok(der) => match core.know_client(&der, now) {
                Ok(()) => known += 1,
                Err(fault) => log::warn!("left out: {path}: {fault}"),
            },
        }
    }
    log::info!("{known} clients known from {}", places.known_clients.display());
}

/// A number that cannot be kept only weakens what happens after a restart.
fn keep_crl_number(places: &Places, trust: &Trust) {
    if let Err(e) = material::remember_crl_number(places, trust) {
        log::warn!("the revocation list's number is not kept for the next start: {e}");
    }
}

fn log_identity(identity: &Identity) {
    let certificate = &identity.certificate;
    let hosts: Vec<String> = certificate.hosts().iter().map(ToString::to_string).collect();
    log::info!(
        "this is {} (fingerprint {}), for {}, until {}",
        certificate.name(),
        certificate.fingerprint(),
        hosts.join(", "),
        certificate.not_after()
    );
}

/// Tells on standard output where the broker listens: scripts wait for it.
fn announce(server: &Server) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let written = server.addresses().try_for_each(|address| {
        log::info!("listening on {address}");
        writeln!(out, "listening on {address}")
    });
    match written.and_then(|()| out.flush()) {
        // Nobody reads it: then nobody waits for it.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::other(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

fn cannot_poll(error: io::Error) -> CliError {
    CliError::other(format!("cannot poll sockets and signals: {error}"))
}

fn cannot_listen(error: ListenError) -> CliError {
    let problem = error.to_string();
    match error {
        ListenError::Busy { address } => CliError::other(problem).remedy(format!(
            "stop the other program (`ss -ltnp 'sport = :{0}'` names it), or choose another port: --listen {1}:PORT",
            address.port(),
            address.ip()
        )),
        ListenError::Resolve { .. } => {
            CliError::other(problem).remedy("--listen takes HOST:PORT, such as 0.0.0.0:7883 or [::1]:7883")
        }
        ListenError::Bind { .. } | ListenError::TooMany => CliError::other(problem),
    }
}
