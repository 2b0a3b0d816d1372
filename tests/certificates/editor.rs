//! A small DER editor: takes a certificate apart, lets a test change anything in it, puts
//! it together again and signs it. It checks nothing, so that it can write what is wrong.

use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::signature::{SignatureEncoding, Signer};
use sealmq::crypto::key::PrivateKey;
use sha2::Sha256;

/// An element: of a tag and either content or elements; or bytes that are none.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Leaf(u8, Vec<u8>),
    Tree(u8, Vec<Node>),
    Raw(Vec<u8>),
}

/// A certificate or a revocation list: what is signed, the algorithm, the signature.
#[derive(Clone)]
pub struct Signed {
    pub tbs: Node,
    pub outer_algorithm: Node,
    /// Behind the signature, which is nothing in a good certificate.
    pub extra: Vec<Node>,
}

impl Node {
    /// Reads well-formed DER; constructed elements become trees.
    pub fn parse(der: &[u8]) -> Node {
        let (node, rest) = Node::split(der);
        assert!(rest.is_empty(), "one element");
        node
    }

    fn split(der: &[u8]) -> (Node, &[u8]) {
        let (tag, first) = (der[0], usize::from(der[1]));
        let (head, length) = match first {
            0..=0x7f => (2, first),
            _ => {
                let digits = first & 0x7f;
                (2 + digits, der[2..2 + digits].iter().fold(0, |sum, d| sum << 8 | usize::from(*d)))
            }
        };
        let (content, rest) = der[head..].split_at(length);
        if tag & 0x20 == 0 {
            return (Node::Leaf(tag, content.to_vec()), rest);
        }
        let (mut inside, mut nodes) = (content, Vec::new());
        while !inside.is_empty() {
            let (node, rest) = Node::split(inside);
            nodes.push(node);
            inside = rest;
        }
        (Node::Tree(tag, nodes), rest)
    }

    pub fn to_der(&self) -> Vec<u8> {
        let (tag, content) = match self {
            Node::Raw(bytes) => return bytes.clone(),
            Node::Leaf(tag, content) => (*tag, content.clone()),
            Node::Tree(tag, nodes) => (*tag, nodes.iter().flat_map(Node::to_der).collect()),
        };
        let mut der = vec![tag];
        match content.len() {
            short @ 0..=0x7f => der.push(short as u8),
            middle @ 0x80..=0xff => der.extend([0x81, middle as u8]),
            long => der.extend([0x82, (long >> 8) as u8, long as u8]),
        }
        der.extend(content);
        der
    }

    /// The elements of a tree.
    pub fn nodes(&mut self) -> &mut Vec<Node> {
        match self {
            Node::Tree(_, nodes) => nodes,
            other => panic!("not a tree: {other:?}"),
        }
    }

    /// The element at a path of places.
    pub fn at(&mut self, path: &[usize]) -> &mut Node {
        path.iter().fold(self, |node, place| &mut node.nodes()[*place])
    }
}

impl Signed {
    pub fn parse(der: &[u8]) -> Signed {
        let mut outer = Node::parse(der);
        let nodes = outer.nodes();
        Signed { tbs: nodes[0].clone(), outer_algorithm: nodes[1].clone(), extra: Vec::new() }
    }

    pub fn sign(&self, key: &PrivateKey) -> Vec<u8> {
        self.with_signature(&signature(key, &self.tbs.to_der()), 0)
    }

    /// With these bytes in place of a signature, and this number of unused bits.
    pub fn with_signature(&self, signature: &[u8], unused: u8) -> Vec<u8> {
        let bits = Node::Leaf(0x03, [&[unused], signature].concat());
        let mut nodes = vec![self.tbs.clone(), self.outer_algorithm.clone(), bits];
        nodes.extend(self.extra.clone());
        sequence(nodes).to_der()
    }

    /// Both algorithms.
    pub fn set_algorithm(&mut self, place: usize, algorithm: Node) {
        *self.tbs.at(&[place]) = algorithm.clone();
        self.outer_algorithm = algorithm;
    }
}

/// Certificates only.
impl Signed {
    pub fn set_times(&mut self, not_before: Node, not_after: Node) {
        *self.tbs.at(&[VALIDITY]) = sequence(vec![not_before, not_after]);
    }

    pub fn extensions(&mut self) -> &mut Vec<Node> {
        self.tbs.at(&[EXTENSIONS, 0]).nodes()
    }

    pub fn remove_extension(&mut self, oid: &[u8]) {
        let before = self.extensions().len();
        self.extensions().retain(|e| !is_extension(e, oid));
        assert_eq!(self.extensions().len() + 1, before, "there was one");
    }

    /// Gives an extension another value; one that is not there is added.
    pub fn set_extension(&mut self, oid: &[u8], value: &[u8]) {
        self.extensions().retain(|e| !is_extension(e, oid));
        self.extensions().push(extension(oid, None, value));
    }

    /// The same, with the BOOLEAN written out.
    pub fn set_critical(&mut self, oid: &[u8], critical: u8) {
        let found = self.extensions().iter_mut().find(|e| is_extension(e, oid));
        let nodes = found.expect("there is one").nodes();
        nodes.retain(|node| !matches!(node, Node::Leaf(0x01, _)));
        nodes.insert(1, Node::Leaf(0x01, vec![critical]));
    }

    pub fn duplicate_extension(&mut self, oid: &[u8]) {
        let found = self.extensions().iter().find(|e| is_extension(e, oid)).cloned();
        self.extensions().push(found.expect("there is one"));
    }
}

fn is_extension(node: &Node, oid: &[u8]) -> bool {
    matches!(node, Node::Tree(_, nodes) if nodes[0] == Node::Leaf(0x06, oid.to_vec()))
}

/// RSASSA-PKCS1-v1_5 with SHA-256.
pub fn signature(key: &PrivateKey, bytes: &[u8]) -> Vec<u8> {
    let key = rsa::RsaPrivateKey::from_pkcs8_pem(&key.to_pem()).expect("our own PEM");
    SigningKey::<Sha256>::new(key).sign(bytes).to_vec()
}

pub fn sequence(nodes: Vec<Node>) -> Node {
    Node::Tree(0x30, nodes)
}

pub fn integer(content: &[u8]) -> Node {
    Node::Leaf(0x02, content.to_vec())
}

pub fn oid(content: &[u8]) -> Node {
    Node::Leaf(0x06, content.to_vec())
}

pub fn null() -> Node {
    Node::Leaf(0x05, Vec::new())
}

pub fn utc(text: &str) -> Node {
    Node::Leaf(0x17, text.as_bytes().to_vec())
}

pub fn generalized(text: &str) -> Node {
    Node::Leaf(0x18, text.as_bytes().to_vec())
}

pub fn extension(id: &[u8], critical: Option<u8>, value: &[u8]) -> Node {
    let mut nodes = vec![oid(id)];
    nodes.extend(critical.map(|byte| Node::Leaf(0x01, vec![byte])));
    nodes.push(Node::Leaf(0x04, value.to_vec()));
    sequence(nodes)
}

/// A relative distinguished name of one attribute.
pub fn attribute(id: &[u8], string_type: u8, text: &[u8]) -> Node {
    Node::Tree(0x31, vec![pair(id, string_type, text)])
}

pub fn pair(id: &[u8], string_type: u8, text: &[u8]) -> Node {
    sequence(vec![oid(id), Node::Leaf(string_type, text.to_vec())])
}

/// A SubjectPublicKeyInfo over any numbers.
pub fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Node {
    key_info(
        sequence(vec![oid(RSA_ENCRYPTION), null()]),
        &sequence(vec![integer(modulus), integer(exponent)]).to_der(),
    )
}

pub fn key_info(algorithm: Node, key: &[u8]) -> Node {
    sequence(vec![algorithm, Node::Leaf(0x03, [&[0], key].concat())])
}

// Places in a TBSCertificate.
pub const VERSION: usize = 0;
pub const SERIAL: usize = 1;
pub const ALGORITHM: usize = 2;
pub const ISSUER: usize = 3;
pub const VALIDITY: usize = 4;
pub const SUBJECT: usize = 5;
pub const KEY: usize = 6;
pub const EXTENSIONS: usize = 7;

// Object identifiers, encoded.
pub const COMMON_NAME: &[u8] = &[0x55, 4, 3];
pub const ORGANIZATION: &[u8] = &[0x55, 4, 10];
pub const SUBJECT_KEY: &[u8] = &[0x55, 29, 14];
pub const KEY_USAGE: &[u8] = &[0x55, 29, 15];
pub const ALTERNATIVE_NAME: &[u8] = &[0x55, 29, 17];
pub const BASIC_CONSTRAINTS: &[u8] = &[0x55, 29, 19];
pub const CRL_NUMBER: &[u8] = &[0x55, 29, 20];
pub const REASON_CODE: &[u8] = &[0x55, 29, 21];
pub const DELTA_CRL: &[u8] = &[0x55, 29, 27];
pub const NAME_CONSTRAINTS: &[u8] = &[0x55, 29, 30];
pub const POLICIES: &[u8] = &[0x55, 29, 32];
pub const AUTHORITY_KEY: &[u8] = &[0x55, 29, 35];
pub const EXTENDED_USAGE: &[u8] = &[0x55, 29, 37];
/// 1.3.6.1.4.1.32473.1: kept for examples (RFC 5612).
pub const UNKNOWN: &[u8] = &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 1];
pub const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
pub const SHA1_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
pub const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
pub const SHA256_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
pub const SHA512_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
pub const EC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
