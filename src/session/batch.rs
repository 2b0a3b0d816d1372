//! One RSA signature for many hellos: it is over the root of the tree of their transcripts.

use std::sync::Arc;

use super::schedule::Th1;
use crate::base::Entropy;
use crate::crypto::key::PrivateKey;
use crate::crypto::merkle::Tree;
use crate::crypto::sign::{Context, RsaFault, sign_pss};
use crate::wire::handshake::BatchPath;

/// A signed batch. Each hello in it is answered by [`super::broker::Queued::challenge`].
pub struct Batch {
    hellos: Vec<Th1>,
    tree: Tree,
    signature: Arc<[u8]>,
}

/// Signs the root over `hellos`: one signature, whatever their number.
///
/// # Panics
/// If there are none or more than 256.
pub fn sign_batch(hellos: &[Th1], key: &PrivateKey, entropy: &mut dyn Entropy) -> Result<Batch, RsaFault> {
    let leaves: Vec<[u8; 32]> = hellos.iter().map(|th1| th1.0).collect();
    let tree = Tree::new(&leaves);
    let signature = sign_pss(key, Context::BrokerHello, &tree.root(), entropy)?;
    Ok(Batch { hellos: hellos.to_vec(), tree, signature: signature.into() })
}

impl Batch {
    pub fn signature(&self) -> &Arc<[u8]> {
        &self.signature
    }

    /// The way from hello `index` to the root.
    ///
    /// # Panics
    /// If `th1` is not the hello that was signed at `index`.
    pub(super) fn path(&self, index: usize, th1: &Th1) -> BatchPath {
        assert_eq!(self.hellos.get(index), Some(th1), "a hello is answered from its own place");
        let number = |n: usize| u16::try_from(n).expect("a batch holds at most 256");
        BatchPath { index: number(index), size: number(self.tree.size()), siblings: self.tree.path(index) }
    }
}
