//! What a client knows and a broker must not, for tests that search a broker for it.
//!
//! Compiled into tests only: nothing that is shipped can take a key out of a client.

use super::Client;
use crate::base::ids::{Epoch, TopicId};
use crate::base::names::TopicName;
use crate::crypto::secret::Secret32;

impl Client {
    /// The keys that this client holds of a topic, by epoch.
    pub fn topic_secrets(&self, topic: &TopicName) -> Vec<(TopicId, Epoch, &Secret32)> {
        self.topics.get(topic).into_iter().flat_map(|topic| topic.records.keyring().secrets()).collect()
    }

    /// The seeds of the keys with which this client signs its messages.
    pub fn signing_seeds(&self) -> Vec<Secret32> {
        self.signing.signers().map(|signer| signer.seed()).collect()
    }
}
