//! The broker's side of the handshake.
//!
//! The steps that cost RSA are calls of their own, so that the loop can pay for each from its
//! [`super::budget`]: [`super::sign_batch`] one signature, [`Challenged::auth`] two public operations (the
//! CA's key, the client's), [`Verified::key`] one (the client's).
//!
//! From ClientAuth on a refusal is sealed under a key that only this client has.

use std::sync::Arc;

use super::Active;
use super::batch::Batch;
use super::close::{HandshakeError, Proof, SessionError};
use super::schedule::{Agreed, ENVELOPE_LABEL, Master, Th1, Th2, Th3};
use crate::base::entropy::random_array;
use crate::base::{Entropy, Wall};
use crate::crypto::cert::{Certificate, Role, Trust};
use crate::crypto::dh::Ephemeral;
use crate::crypto::envelope;
use crate::crypto::fernet::{OpeningKey, SealingKey};
use crate::crypto::kdf::{mac, verify_mac};
use crate::crypto::secret::Secret32;
use crate::crypto::sign::{Context, SignatureValid, verify_pss};
use crate::wire::WireError;
use crate::wire::handshake::{
    BrokerHello, ClientAuth, ClientHello, ClientReady, MessageType, Refusal, SessionKey, VERSION, message,
};

/// A connection that is not yet active.
pub enum Handshake {
    /// ClientAuth has not come, or was not good.
    AwaitingCert(AwaitingCert),
    /// Certificate and signature are good; the envelope is not yet sent.
    Verified(Verified),
    /// The envelope is sent; ClientReady has not come.
    Keyed(Keyed),
}

/// How far the hellos are.
pub enum AwaitingCert {
    /// Nothing has come.
    Fresh(Fresh),
    /// ClientHello has come and waits for a signature.
    Queued(Queued),
    /// BrokerHello is sent.
    Challenged(Challenged),
}

pub struct Fresh(());

pub struct Queued {
    agreed: Agreed,
    nonce: [u8; 32],
    x: [u8; 32],
    certificate: Certificate,
}

pub struct Challenged {
    agreed: Agreed,
    path: Vec<u8>,
    signature: Arc<[u8]>,
}

pub struct Verified {
    agreed: Agreed,
    th2: Th2,
    client: Certificate,
    client_signature: Vec<u8>,
    was_remembered: bool,
    _proof: SignatureValid,
}

pub struct Keyed {
    agreed: Agreed,
    master: Master,
    client: Certificate,
}

/// What a good ClientAuth has shown.
struct Proved {
    th2: Th2,
    client: Certificate,
    client_signature: Vec<u8>,
    was_remembered: bool,
    proof: SignatureValid,
}

/// The handshake is over by fault; the connection closes when `message` is written.
#[derive(Debug)]
pub struct Refused {
    /// For the log.
    pub error: HandshakeError,
    /// What the client is told.
    pub refusal: Refusal,
    /// The refusal on the wire, sealed or in clear.
    pub message: Vec<u8>,
}

/// What the steps need that is not the connection's own.
pub struct Surroundings<'a> {
    /// The broker's certificate; its key signs the batches.
    pub certificate: &'a Certificate,
    pub trust: &'a Trust,
    pub now: Wall,
    pub entropy: &'a mut dyn Entropy,
}

/// What a message led to.
pub enum Step {
    /// On in the handshake. [`AwaitingCert::Queued`] now waits for [`super::sign_batch`],
    /// [`Handshake::Verified`] for [`Verified::key`].
    Handshake(Handshake),
    Active(Active),
}

impl Handshake {
    pub fn new() -> Handshake {
        AwaitingCert::Fresh(Fresh(())).into()
    }

    /// The one message that may come in this state; `None` while the broker owes the next one.
    pub fn expects(&self) -> Option<MessageType> {
        match self {
            Handshake::AwaitingCert(AwaitingCert::Fresh(_)) => Some(MessageType::ClientHello),
            Handshake::AwaitingCert(AwaitingCert::Queued(_)) => None,
            Handshake::AwaitingCert(AwaitingCert::Challenged(_)) => Some(MessageType::ClientAuth),
            Handshake::Verified(_) => None,
            Handshake::Keyed(_) => Some(MessageType::ClientReady),
        }
    }

    /// Takes the message of type `kind`, whatever it is, in this state, whatever it is.
    pub fn handle(self, kind: u8, payload: &[u8], with: Surroundings<'_>) -> Result<Step, Refused> {
        let kind = match MessageType::try_from(kind) {
            Ok(kind) if self.expects() == Some(kind) => kind,
            Ok(kind) => return Err(self.refuse(HandshakeError::Unexpected(kind), with.now, with.entropy)),
            Err(e) => return Err(self.refuse(e.into(), with.now, with.entropy)),
        };
        match self {
            Handshake::AwaitingCert(AwaitingCert::Fresh(state)) => {
                Ok(Step::Handshake(state.hello(payload, with.certificate, with.entropy)?.into()))
            }
            Handshake::AwaitingCert(AwaitingCert::Challenged(state)) => {
                Ok(Step::Handshake(state.auth(payload, with.trust, with.now, with.entropy)?.into()))
            }
            Handshake::Keyed(state) => Ok(Step::Active(state.ready(payload, with.now, with.entropy)?)),
            Handshake::AwaitingCert(AwaitingCert::Queued(_)) | Handshake::Verified(_) => {
                unreachable!("{kind:?}: these states expect nothing")
            }
        }
    }

    /// Ends the handshake for a reason of the broker's own, or for bytes that are no message.
    pub fn refuse(&self, error: HandshakeError, now: Wall, entropy: &mut dyn Entropy) -> Refused {
        match self {
            Handshake::AwaitingCert(_) => Refused::clear(error),
            Handshake::Verified(Verified { agreed, .. }) | Handshake::Keyed(Keyed { agreed, .. }) => {
                Refused::sealed(error, agreed, now, entropy)
            }
        }
    }
}

impl Fresh {
    /// Takes a ClientHello's payload. Draws the nonce, then the X25519 key, 32 bytes each.
    pub fn hello(
        self,
        payload: &[u8],
        certificate: &Certificate,
        entropy: &mut dyn Entropy,
    ) -> Result<Queued, Refused> {
        let hello = ClientHello::decode(payload).map_err(|e| Refused::clear(e.into()))?;
        let nonce = random_array(entropy);
        let ephemeral = Ephemeral::generate(entropy);
        let x = ephemeral.public();
        let zero = |_| Refused::clear(WireError::BadValue("the X25519 key").into());
        let dh = ephemeral.agree(&hello.x).map_err(zero)?;
        let th1 = Th1::new(payload, &nonce, &x, certificate.der());
        Ok(Queued { agreed: Agreed::new(dh, th1), nonce, x, certificate: certificate.clone() })
    }
}

impl Queued {
    /// What [`super::sign_batch`] signs for this hello.
    pub fn th1(&self) -> Th1 {
        *self.agreed.th1()
    }

    /// The certificate that this hello is to be answered with: the batch is signed by its key.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Answers with a BrokerHello from the batch that this hello was signed in, at `index`.
    ///
    /// # Panics
    /// If another hello was signed at `index`.
    pub fn challenge(self, batch: &Batch, index: usize) -> (Challenged, Vec<u8>) {
        let path = batch.path(index, self.agreed.th1());
        let (path_bytes, signature) = (path.encode(), batch.signature().clone());
        let hello = BrokerHello {
            version: VERSION,
            nonce: self.nonce,
            x: self.x,
            certificate: self.certificate.der(),
            path,
            signature: &signature,
        };
        let bytes = message(MessageType::BrokerHello, &hello.encode());
        (Challenged { agreed: self.agreed, path: path_bytes, signature }, bytes)
    }
}

impl Challenged {
    /// Takes a ClientAuth's payload. Costs two RSA public operations.
    pub fn auth(
        self,
        payload: &[u8],
        trust: &Trust,
        now: Wall,
        entropy: &mut dyn Entropy,
    ) -> Result<Verified, Refused> {
        match self.check(payload, trust, now) {
            Ok(proved) => {
                let Proved { th2, client, client_signature, was_remembered, proof } = proved;
                let agreed = self.agreed;
                Ok(Verified { agreed, th2, client, client_signature, was_remembered, _proof: proof })
            }
            Err(error) => Err(Refused::sealed(error, &self.agreed, now, entropy)),
        }
    }

    fn check(&self, payload: &[u8], trust: &Trust, now: Wall) -> Result<Proved, HandshakeError> {
        let mut token = payload.to_vec();
        let key = OpeningKey::new(&self.agreed.auth_key());
        let auth = ClientAuth::decode(key.open(&mut token).map_err(Proof::ClientToken)?)?;
        let was_remembered = trust.remembers(auth.certificate, Role::Client);
        let client = trust.verify(auth.certificate, Role::Client, now)?;
        let th2 = Th2::new(self.agreed.th1(), &self.path, &self.signature, auth.certificate);
        let proof = verify_pss(client.public_key(), Context::ClientAuth, th2.as_bytes(), auth.signature)
            .map_err(|_| Proof::ClientSignature)?;
        let client_signature = auth.signature.to_vec();
        Ok(Proved { th2, client, client_signature, was_remembered, proof })
    }
}

impl Verified {
    /// Who the client is: certificate and signature are good, though it has not confirmed the keys.
    pub fn client(&self) -> &Certificate {
        &self.client
    }

    /// Whether its certificate had been verified before, which spared one of the two RSA operations.
    pub fn was_remembered(&self) -> bool {
        self.was_remembered
    }

    /// Makes the session secret and the SessionKey message. Costs one RSA public operation.
    /// Draws the secret, then OAEP's seed, 32 bytes each.
    pub fn key(self, now: Wall, entropy: &mut dyn Entropy) -> Result<(Keyed, Vec<u8>), Refused> {
        let secret = Secret32::random(entropy);
        let sealed = envelope::seal(self.client.public_key(), ENVELOPE_LABEL, &secret, entropy);
        let envelope = match sealed {
            Ok(envelope) => envelope,
            Err(fault) => return Err(Refused::sealed(fault.into(), &self.agreed, now, entropy)),
        };
        let th3 = Th3::new(&self.th2, &self.client_signature, &envelope);
        let mac = mac(&self.agreed.envelope_key(&self.th2), th3.as_bytes());
        let bytes = message(MessageType::SessionKey, &SessionKey { envelope: &envelope, mac }.encode());
        let master = self.agreed.master(&secret, th3);
        Ok((Keyed { agreed: self.agreed, master, client: self.client }, bytes))
    }
}

impl Keyed {
    pub fn client(&self) -> &Certificate {
        &self.client
    }

    /// Takes a ClientReady's payload: the client has opened the envelope.
    pub fn ready(self, payload: &[u8], now: Wall, entropy: &mut dyn Entropy) -> Result<Active, Refused> {
        let checked = ClientReady::decode(payload).map_err(HandshakeError::from).and_then(|ready| {
            let th3 = self.master.th3().as_bytes();
            verify_mac(&self.master.ready_key(), th3, &ready.mac).ok_or(Proof::ReadyMac.into())
        });
        match checked {
            Ok(_proof) => Ok(Active { peer: self.client, keys: self.master.session_keys() }),
            Err(error) => Err(Refused::sealed(error, &self.agreed, now, entropy)),
        }
    }
}

impl Refused {
    fn clear(error: HandshakeError) -> Refused {
        let refusal = SessionError::from(error.clone()).refusal();
        let message = message(MessageType::Refusal, &refusal.encode());
        Refused { error, refusal, message }
    }

    /// Draws the token's IV.
    fn sealed(error: HandshakeError, agreed: &Agreed, now: Wall, entropy: &mut dyn Entropy) -> Refused {
        let refusal = SessionError::from(error.clone()).refusal();
        let key = SealingKey::new(&agreed.refusal_key());
        let token = key.seal_to_vec(&refusal.encode(), now.secs(), &random_array(entropy));
        Refused { error, refusal, message: message(MessageType::SealedRefusal, &token) }
    }
}

impl Default for Handshake {
    fn default() -> Handshake {
        Handshake::new()
    }
}

macro_rules! into_handshake {
    ($($state:ident => $make:expr),* $(,)?) => {$(
        impl From<$state> for Handshake {
            fn from(state: $state) -> Handshake {
                $make(state)
            }
        }
    )*};
}

into_handshake! {
    AwaitingCert => Handshake::AwaitingCert,
    Queued => |s| Handshake::AwaitingCert(AwaitingCert::Queued(s)),
    Challenged => |s| Handshake::AwaitingCert(AwaitingCert::Challenged(s)),
    Verified => Handshake::Verified,
    Keyed => Handshake::Keyed,
}
