//! Who a node is, and how records are signed.

use okapi_base::{MemberId, NodeId};
use okapi_seal::{Hasher, Signature, SigningKey, verify};
use okapi_wire::peer::shard::Signed;

/// Who a node is. The member's own secret is not needed to run: it signed the binding when the node was made.
#[derive(Debug)]
pub struct Identity {
    /// The node's own key.
    pub signing: SigningKey,
    /// The member it belongs to.
    pub member: MemberId,
    /// The member's X25519 key, to which data keys are wrapped.
    pub recipient: [u8; 32],
    /// Which of the member's nodes it is.
    pub number: u32,
    /// The member's signature that this node is its own ([`okapi_timeline::members::bind`]).
    pub member_signature: [u8; 64],
    /// Where it stands: nodes of one site may fail together.
    pub site: u64,
}

impl Identity {
    /// This node's signature of a record.
    pub(crate) fn sign<T: Signed>(&self, record: &T) -> [u8; 64] {
        self.signing.sign(&digest(record)).0
    }
}

/// Whether a record's signature is this node's.
pub(crate) fn verified<T: Signed>(node: &NodeId, record: &T) -> bool {
    verify(&node.0, &digest(record), &Signature(record.signature()))
}

/// What is signed of a record.
pub(crate) fn digest<T: Signed>(record: &T) -> okapi_base::Digest {
    Hasher::new(T::CONTEXT).add(&record.unsigned()).digest()
}
