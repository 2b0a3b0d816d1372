//! The client's side of the handshake.

use super::Active;
use super::close::{HandshakeError, Proof};
use super::schedule::{Agreed, ENVELOPE_LABEL, Th1, Th2, Th3};
use crate::base::entropy::random_array;
use crate::base::{Entropy, Wall};
use crate::crypto::cert::{CertFault, Certificate, Role, Trust};
use crate::crypto::dh::Ephemeral;
use crate::crypto::envelope;
use crate::crypto::fernet::{OpeningKey, SealingKey};
use crate::crypto::kdf::{mac, verify_mac};
use crate::crypto::key::PrivateKey;
use crate::crypto::merkle::root_from_path;
use crate::crypto::secret::Secret32;
use crate::crypto::sign::{Context, SignatureValid, sign_pss, verify_pss};
use crate::wire::WireError;
use crate::wire::handshake::{
    BrokerHello, ClientAuth, ClientHello, MessageType, Refusal, SessionKey, VERSION, message,
};

/// A connection to a broker that is not yet active.
pub enum ClientHandshake {
    /// ClientHello is sent.
    AwaitingBrokerHello(AwaitingBrokerHello),
    /// The broker is who it says it is, and ClientAuth is sent.
    AwaitingSessionKey(AwaitingSessionKey),
}

pub struct AwaitingBrokerHello {
    hello: Vec<u8>,
    ephemeral: Ephemeral,
}

pub struct AwaitingSessionKey {
    agreed: Agreed,
    th2: Th2,
    broker: Certificate,
    signature: Vec<u8>,
    _proof: SignatureValid,
}

/// What the steps need that is not the connection's own.
pub struct Surroundings<'a> {
    pub trust: &'a Trust,
    /// Who we are.
    pub certificate: &'a Certificate,
    pub key: &'a PrivateKey,
    /// The host that was asked for; the broker's certificate must name it. `None`: any broker of the CA.
    pub host: Option<&'a str>,
    pub now: Wall,
    pub entropy: &'a mut dyn Entropy,
}

/// What a message led to, and the message to send.
pub enum Step {
    Handshake(ClientHandshake, Vec<u8>),
    Active(Active, Vec<u8>, LateRefusal),
}

/// What opens a refusal of ClientReady, which comes where the broker's first record is due.
pub struct LateRefusal(Secret32);

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The broker refused. Unless `authenticated`, anybody on the way may have said so: it is shown as
    /// such, and it stops no retries.
    Refused { refusal: Refusal, authenticated: bool },
    /// The broker's answer is not accepted.
    Failed(HandshakeError),
}

impl ClientHandshake {
    /// Makes the ClientHello. Draws the nonce, then the X25519 key, 32 bytes each.
    pub fn start(entropy: &mut dyn Entropy) -> (ClientHandshake, Vec<u8>) {
        let nonce = random_array(entropy);
        let ephemeral = Ephemeral::generate(entropy);
        let hello = ClientHello { version: VERSION, nonce, x: ephemeral.public() }.encode();
        let bytes = message(MessageType::ClientHello, &hello);
        (ClientHandshake::AwaitingBrokerHello(AwaitingBrokerHello { hello, ephemeral }), bytes)
    }

    /// Takes the message of type `kind`, whatever it is, in this state, whatever it is.
    pub fn handle(self, kind: u8, payload: &[u8], with: Surroundings<'_>) -> Result<Step, ClientError> {
        let kind = MessageType::try_from(kind).map_err(HandshakeError::from)?;
        match (self, kind) {
            (_, MessageType::Refusal) => {
                let refusal = Refusal::decode(payload).map_err(HandshakeError::from)?;
                Err(ClientError::Refused { refusal, authenticated: false })
            }
            (ClientHandshake::AwaitingBrokerHello(state), MessageType::BrokerHello) => {
                let (state, bytes) = state.broker_hello(payload, with)?;
                Ok(Step::Handshake(ClientHandshake::AwaitingSessionKey(state), bytes))
            }
            (ClientHandshake::AwaitingSessionKey(state), MessageType::SessionKey) => {
                let late = LateRefusal(state.agreed.refusal_key());
                let (active, bytes) = state.session_key(payload, with)?;
                Ok(Step::Active(active, bytes, late))
            }
            (ClientHandshake::AwaitingSessionKey(state), MessageType::SealedRefusal) => {
                Err(LateRefusal(state.agreed.refusal_key()).read(payload))
            }
            (_, kind) => Err(HandshakeError::Unexpected(kind).into()),
        }
    }
}

impl AwaitingBrokerHello {
    /// Checks who the broker is and answers with a ClientAuth. Costs two RSA public operations and one
    /// signature. Draws the token's IV (16 bytes), PSS's salt (32), then what blinding takes.
    fn broker_hello(
        self,
        payload: &[u8],
        with: Surroundings<'_>,
    ) -> Result<(AwaitingSessionKey, Vec<u8>), HandshakeError> {
        let hello = BrokerHello::decode(payload)?;
        let broker = with.trust.verify(hello.certificate, Role::Broker, with.now)?;
        if with.host.is_some_and(|host| !broker.matches_host(host)) {
            return Err(CertFault::WrongName.into());
        }
        let th1 = Th1::new(&self.hello, &hello.nonce, &hello.x, hello.certificate);
        let proof = verify_batch(&broker, &th1, &hello)?;
        let zero = |_| WireError::BadValue("the X25519 key");
        let agreed = Agreed::new(self.ephemeral.agree(&hello.x).map_err(zero)?, th1);

        let own = with.certificate.der();
        let th2 = Th2::new(agreed.th1(), &hello.path.encode(), hello.signature, own);
        let iv = random_array(with.entropy);
        let signature = sign_pss(with.key, Context::ClientAuth, th2.as_bytes(), with.entropy)?;
        let auth = ClientAuth { certificate: own, signature: &signature }.encode();
        let token = SealingKey::new(&agreed.auth_key()).seal_to_vec(&auth, with.now.secs(), &iv);
        let bytes = message(MessageType::ClientAuth, &token);
        Ok((AwaitingSessionKey { agreed, th2, broker, signature, _proof: proof }, bytes))
    }
}

impl AwaitingSessionKey {
    /// Opens the envelope, if its MAC is good, and answers with a ClientReady. Costs one RSA private
    /// operation. Draws what blinding takes.
    fn session_key(
        self,
        payload: &[u8],
        with: Surroundings<'_>,
    ) -> Result<(Active, Vec<u8>), HandshakeError> {
        let message_in = SessionKey::decode(payload)?;
        let th3 = Th3::new(&self.th2, &self.signature, message_in.envelope);
        // Only an envelope of the broker that signed for these hellos is opened: no oracle for others.
        let _proof = verify_mac(&self.agreed.envelope_key(&self.th2), th3.as_bytes(), &message_in.mac)
            .ok_or(Proof::EnvelopeMac)?;
        let secret = envelope::open(with.key, ENVELOPE_LABEL, message_in.envelope, with.entropy)
            .map_err(|_| Proof::Envelope)?;
        let master = self.agreed.master(&secret, th3);
        let ready = mac(&master.ready_key(), master.th3().as_bytes());
        let bytes = message(MessageType::ClientReady, &ready);
        Ok((Active { peer: self.broker, keys: master.session_keys() }, bytes))
    }
}

impl LateRefusal {
    /// Takes a message that came before the first record.
    pub fn handle(&self, kind: u8, payload: &[u8]) -> ClientError {
        match MessageType::try_from(kind) {
            Ok(MessageType::SealedRefusal) => self.read(payload),
            Ok(kind) => HandshakeError::Unexpected(kind).into(),
            Err(fault) => HandshakeError::from(fault).into(),
        }
    }

    fn read(&self, payload: &[u8]) -> ClientError {
        let mut token = payload.to_vec();
        let key = OpeningKey::new(&self.0);
        let opened = key.open(&mut token).map_err(|fault| Proof::RefusalToken(fault).into());
        match opened.and_then(|bytes| Ok(Refusal::decode(bytes)?)) {
            Ok(refusal) => ClientError::Refused { refusal, authenticated: true },
            Err(fault) => ClientError::Failed(fault),
        }
    }
}

/// The path's shape first, then the signature over the root that follows from it.
fn verify_batch(
    broker: &Certificate,
    th1: &Th1,
    hello: &BrokerHello<'_>,
) -> Result<SignatureValid, HandshakeError> {
    let (index, size) = (hello.path.index.into(), hello.path.size.into());
    let root =
        root_from_path(th1.as_bytes(), index, size, &hello.path.siblings).map_err(|_| Proof::BatchPath)?;
    verify_pss(broker.public_key(), Context::BrokerHello, &root, hello.signature)
        .map_err(|_| Proof::BrokerSignature.into())
}

impl From<HandshakeError> for ClientError {
    fn from(e: HandshakeError) -> ClientError {
        ClientError::Failed(e)
    }
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClientError::Refused { refusal, authenticated: true } => {
                write!(f, "the broker refused: {}", refusal.text)
            }
            ClientError::Refused { refusal, authenticated: false } => {
                write!(f, "refused, though not provably by the broker: {}", refusal.text)
            }
            ClientError::Failed(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {}
