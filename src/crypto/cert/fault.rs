//! Why a certificate or a revocation list was not taken: one reason for each rule.

use std::fmt;

use super::Role;
use crate::base::Wall;
use crate::base::limits::{CERT_BYTES_MAX, CRL_BYTES_MAX, LEAF_LIFETIME_MAX, RSA_BITS_MAX, RSA_BITS_MIN};
use crate::base::names::NameError;

/// The rule that a certificate breaks. Prints as a sentence about "the certificate".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertFault {
    /// More than [`CERT_BYTES_MAX`] bytes.
    TooLarge,
    /// Bytes behind the certificate's end.
    TrailingBytes,
    /// Not DER, or not laid out as RFC 5280, 4.1 says. Holds a predicate: "has …".
    Malformed(&'static str),
    /// Not version 3.
    Version,
    /// Serial number not positive, or longer than 20 bytes.
    Serial,
    /// Signed in another way than sha256WithRSAEncryption with NULL parameters.
    SignatureAlgorithm,
    /// The algorithm beside the signature is not the one that was signed.
    AlgorithmMismatch,
    /// The issuer is not our CA's subject, byte for byte.
    WrongCa,
    /// No authority key identifier.
    NoAuthorityKey,
    /// The authority key identifier is not our CA's subject key identifier.
    WrongAuthorityKey,
    /// The CA's key did not make the signature.
    BadSignature,
    /// It is the CA's own certificate, or one over the CA's key.
    CaItself,
    Expired {
        not_after: Wall,
    },
    NotYetValid {
        not_before: Wall,
    },
    /// The CA's own certificate has expired.
    CaExpired {
        not_after: Wall,
    },
    /// The CA's own certificate is not valid yet.
    CaNotYetValid {
        not_before: Wall,
    },
    /// Before 1970, or as GeneralizedTime before 2050.
    TimeForm,
    /// Valid from a time that is not before its end.
    ValidityReversed,
    /// Longer than [`LEAF_LIFETIME_MAX`].
    LifetimeTooLong {
        days: u64,
    },
    Revoked,
    /// The subject has no common name.
    NoCommonName,
    /// The subject has more than one common name.
    ManyCommonNames,
    /// The common name is not of the allowed form.
    BadCommonName(NameError),
    /// The common name's string type is neither UTF8String nor PrintableString.
    CommonNameType,
    /// The subject alternative names are malformed, or hold others than DNS names and addresses.
    BadHostName,
    /// A broker's certificate without a subject alternative name.
    NoHostName,
    /// The host that was asked for is not among the subject alternative names.
    WrongName,
    /// The key is not an RSA key, or not in its canonical form.
    KeyForm,
    KeySize {
        bits: usize,
    },
    /// Public exponent is not 65537.
    KeyExponent,
    /// Unique identifiers of issuer or subject, which RFC 5280 forbids.
    UniqueId,
    DuplicateExtension(String),
    /// A critical extension that this profile does not know.
    UnknownCritical(String),
    /// A known extension that is critical and must not be, or the other way round.
    Criticality(&'static str),
    NameConstraints,
    NoBasicConstraints,
    /// Basic constraints other than CA:FALSE.
    IsCa,
    /// A CA certificate without basic constraints CA:TRUE.
    NotCa,
    /// The key usage is missing or malformed.
    NoKeyUsage,
    /// The key usage does not hold digitalSignature (CA: keyCertSign and cRLSign).
    KeyUsageMissing,
    /// The key usage holds keyCertSign or cRLSign.
    KeyUsageOfCa,
    /// The extended key usage is that of the other role.
    WrongRole {
        expected: Role,
    },
    /// The extended key usage is missing, or not exactly the role's one.
    WrongUsage,
    /// A CA certificate without a usable subject key identifier.
    NoSubjectKey,
    /// The subject key identifier is malformed.
    SubjectKeyForm,
}

/// What a peer is told of a [`CertFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    Malformed,
    Expired,
    NotYetValid,
    Revoked,
    WrongCa,
    WrongName,
    WrongUsage,
}

/// Why a revocation list was not taken. The list before it stays in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrlFault {
    TooLarge,
    Malformed(&'static str),
    Version,
    SignatureAlgorithm,
    AlgorithmMismatch,
    WrongCa,
    WrongAuthorityKey,
    BadSignature,
    /// thisUpdate lies ahead of the clock by more than the skew.
    NotYetValid {
        this_update: Wall,
    },
    /// No nextUpdate, or one that is not after thisUpdate.
    NoNextUpdate,
    /// No cRLNumber, or one above 2^64.
    NoNumber,
    /// An older list than one that was seen before.
    LowerNumber {
        number: u64,
        seen: u64,
    },
    /// Another list under a number that was seen before.
    NumberReused {
        number: u64,
    },
    DuplicateExtension(String),
    UnknownCritical(String),
    /// An entry whose serial no certificate can have, or with an extension that changes its meaning.
    BadEntry(&'static str),
}

impl CertFault {
    /// The sort of fault, which has a refusal code of its own.
    pub fn kind(&self) -> FaultKind {
        use CertFault::*;
        match self {
            Expired { .. } | CaExpired { .. } => FaultKind::Expired,
            NotYetValid { .. } | CaNotYetValid { .. } => FaultKind::NotYetValid,
            Revoked => FaultKind::Revoked,
            WrongCa | NoAuthorityKey | WrongAuthorityKey | BadSignature => FaultKind::WrongCa,
            NoCommonName | ManyCommonNames | BadCommonName(_) | CommonNameType | BadHostName | NoHostName
            | WrongName => FaultKind::WrongName,
            WrongRole { .. }
            | WrongUsage
            | IsCa
            | CaItself
            | NotCa
            | NoBasicConstraints
            | NoKeyUsage
            | KeyUsageMissing
            | KeyUsageOfCa => FaultKind::WrongUsage,
            TooLarge
            | TrailingBytes
            | Malformed(_)
            | Version
            | Serial
            | SignatureAlgorithm
            | AlgorithmMismatch
            | TimeForm
            | ValidityReversed
            | LifetimeTooLong { .. }
            | KeyForm
            | KeySize { .. }
            | KeyExponent
            | UniqueId
            | DuplicateExtension(_)
            | UnknownCritical(_)
            | Criticality(_)
            | NameConstraints
            | NoSubjectKey
            | SubjectKeyForm => FaultKind::Malformed,
        }
    }
}

impl fmt::Display for CertFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CertFault::*;
        f.write_str("the certificate ")?;
        match self {
            TooLarge => write!(f, "is larger than {CERT_BYTES_MAX} bytes"),
            TrailingBytes => write!(f, "has bytes after its end"),
            Malformed(how) => f.write_str(how),
            Version => write!(f, "is not of version 3"),
            Serial => write!(f, "has a serial number that is not positive or longer than 20 bytes"),
            SignatureAlgorithm => write!(f, "is not signed with sha256WithRSAEncryption"),
            AlgorithmMismatch => write!(f, "names two different signature algorithms"),
            WrongCa => write!(f, "is not of this CA: it names another issuer"),
            NoAuthorityKey => write!(f, "is not of this CA: it names no authority key"),
            WrongAuthorityKey => write!(f, "is not of this CA: it names another authority key"),
            BadSignature => write!(f, "is not of this CA: the CA's key did not sign it"),
            CaItself => write!(f, "is the CA's own, which neither a client nor a broker may use"),
            Expired { not_after } => write!(f, "expired on {not_after}"),
            NotYetValid { not_before } => write!(f, "is not valid before {not_before}"),
            CaExpired { not_after } => write!(f, "is of a CA whose own certificate expired on {not_after}"),
            CaNotYetValid { not_before } => {
                write!(f, "is of a CA whose own certificate is not valid before {not_before}")
            }
            TimeForm => write!(f, "has a time that is before 1970 or in the wrong form for its year"),
            ValidityReversed => write!(f, "ends before it begins"),
            LifetimeTooLong { days } => {
                let max = LEAF_LIFETIME_MAX.as_secs() / 86_400;
                write!(f, "is valid for {days} days; at most {max} are accepted")
            }
            Revoked => write!(f, "has been revoked"),
            NoCommonName => write!(f, "has no common name"),
            ManyCommonNames => write!(f, "has more than one common name"),
            BadCommonName(why) => write!(f, "has a common name that {why}"),
            CommonNameType => {
                write!(f, "has a common name of another type than UTF8String or PrintableString")
            }
            BadHostName => write!(f, "has an alternative name that is neither a host name nor an address"),
            NoHostName => write!(f, "is a broker's but names no host"),
            WrongName => write!(f, "does not name the host that was asked for"),
            KeyForm => write!(f, "does not hold an RSA key in its canonical form"),
            KeySize { bits } => {
                write!(f, "has a key of {bits} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are accepted")
            }
            KeyExponent => write!(f, "has a key whose public exponent is not 65537"),
            UniqueId => write!(f, "has a unique identifier, which RFC 5280 forbids"),
            DuplicateExtension(oid) => write!(f, "has the extension {oid} twice"),
            UnknownCritical(oid) => write!(f, "has the critical extension {oid}, which is not known here"),
            Criticality(which) => write!(f, "has the wrong criticality in its {which}"),
            NameConstraints => write!(f, "has name constraints, which are not taken here"),
            NoBasicConstraints => write!(f, "has no basic constraints"),
            IsCa => write!(f, "is not marked CA:FALSE"),
            NotCa => write!(f, "is not marked CA:TRUE"),
            NoKeyUsage => write!(f, "has no key usage"),
            KeyUsageMissing => write!(f, "has a key usage without what it is to be used for"),
            KeyUsageOfCa => write!(f, "has the key usage of a CA"),
            WrongRole { expected } => {
                write!(f, "is a {}'s, where a {expected}'s was expected", expected.other())
            }
            WrongUsage => write!(f, "has an extended key usage that is not exactly that of one role"),
            NoSubjectKey => write!(f, "is a CA's without a subject key identifier"),
            SubjectKeyForm => write!(f, "has a malformed subject key identifier"),
        }
    }
}

impl std::error::Error for CertFault {}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultKind::Malformed => "malformed",
            FaultKind::Expired => "expired",
            FaultKind::NotYetValid => "not yet valid",
            FaultKind::Revoked => "revoked",
            FaultKind::WrongCa => "not of this CA",
            FaultKind::WrongName => "wrong name",
            FaultKind::WrongUsage => "wrong usage",
        })
    }
}

impl fmt::Display for CrlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CrlFault::*;
        f.write_str("the revocation list ")?;
        match self {
            TooLarge => write!(f, "is larger than {CRL_BYTES_MAX} bytes"),
            Malformed(how) => f.write_str(how),
            Version => write!(f, "is not of version 2"),
            SignatureAlgorithm => write!(f, "is not signed with sha256WithRSAEncryption"),
            AlgorithmMismatch => write!(f, "names two different signature algorithms"),
            WrongCa => write!(f, "is not of this CA: it names another issuer"),
            WrongAuthorityKey => write!(f, "is not of this CA: it names another authority key, or none"),
            BadSignature => write!(f, "is not of this CA: the CA's key did not sign it"),
            NotYetValid { this_update } => write!(f, "is not valid before {this_update}"),
            NoNextUpdate => write!(f, "does not say until when it holds"),
            NoNumber => write!(f, "has no number"),
            LowerNumber { number, seen } => {
                write!(f, "is an old one: number {number}, and {seen} was seen before")
            }
            NumberReused { number } => write!(f, "differs from the one seen before under number {number}"),
            DuplicateExtension(oid) => write!(f, "has the extension {oid} twice"),
            UnknownCritical(oid) => write!(f, "has the critical extension {oid}, which is not known here"),
            BadEntry(how) => write!(f, "has an entry that {how}"),
        }
    }
}

impl std::error::Error for CrlFault {}
