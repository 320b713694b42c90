//! Who a member is: one secret, from which all of the member's keys are derived.
//!
//! | context | gives |
//! |---|---|
//! | `okapi 2026 member: signing key` | the member's Ed25519 key; its public half is the [`MemberId`] |
//! | `okapi 2026 member: recipient key` | the member's X25519 key, to which data keys are wrapped |
//! | `okapi 2026 member: signing key of node`, number u32 | the Ed25519 key of the member's n-th node; its public half is the [`NodeId`] |

use crate::phrase::RecoveryPhrase;
use crate::recipient::RecipientKey;
use crate::{Secret, SigningKey};
use okapi_base::{MemberId, NodeId};

const SIGNING: &str = "okapi 2026 member: signing key";
const RECIPIENT: &str = "okapi 2026 member: recipient key";
const NODE_SIGNING: &str = "okapi 2026 member: signing key of node";

/// The secret of a member. Whoever has it is the member; the phrase on paper is all that is needed to have it again.
#[derive(Clone)]
pub struct MemberSecret(Secret);

impl MemberSecret {
    /// A new member.
    #[must_use]
    pub fn random() -> Self {
        Self(Secret::random())
    }

    /// A secret of given bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    pub(crate) const fn from_secret(secret: Secret) -> Self {
        Self(secret)
    }

    /// The secret that was written down as `phrase`.
    #[must_use]
    pub fn from_phrase(phrase: &RecoveryPhrase) -> Self {
        Self(phrase.secret().clone())
    }

    /// The secret as words for paper.
    #[must_use]
    pub fn phrase(&self) -> RecoveryPhrase {
        RecoveryPhrase::of(&self.0)
    }

    /// The public name of the member.
    #[must_use]
    pub fn id(&self) -> MemberId {
        MemberId(self.signing_key().public())
    }

    /// The key with which the member signs its member records.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_secret(&self.0.derive(SIGNING, &[]))
    }

    /// The key that opens what was sealed to the member.
    #[must_use]
    pub fn recipient_key(&self) -> RecipientKey {
        RecipientKey::X25519(self.0.derive(RECIPIENT, &[]))
    }

    /// The public name of the member's node of this number.
    #[must_use]
    pub fn node_id(&self, number: u32) -> NodeId {
        NodeId(self.node_signing_key(number).public())
    }

    pub(crate) fn node_seed(&self, number: u32) -> Secret {
        self.0.derive(NODE_SIGNING, &number.to_le_bytes())
    }

    /// The key with which the member's node of this number signs.
    #[must_use]
    pub fn node_signing_key(&self, number: u32) -> SigningKey {
        SigningKey::from_secret(&self.node_seed(number))
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.0
    }
}

impl std::fmt::Debug for MemberSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemberSecret(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipient::Recipient;
    use crate::sign::verify;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn everything_comes_back_from_the_phrase() {
        let member = MemberSecret::random();
        let typed = member.phrase().as_str().to_owned();
        let again = MemberSecret::from_phrase(&RecoveryPhrase::parse(&typed).unwrap());
        assert_eq!(again.id(), member.id());
        assert_eq!(again.node_id(7), member.node_id(7));
        assert_eq!(again.recipient_key().recipient().id(), member.recipient_key().recipient().id());
        assert_eq!(format!("{member:?}"), "MemberSecret(not shown)");
    }

    #[test]
    fn each_key_is_another() {
        let member = MemberSecret::from_bytes([1; 32]);
        let ids = [member.id().0, member.node_id(0).0, member.node_id(1).0, member.node_id(256).0];
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        let digest = crate::hash(b"said");
        let signature = member.node_signing_key(1).sign(&digest);
        assert!(verify(&member.node_id(1).0, &digest, &signature));
        assert!(!verify(&member.id().0, &digest, &signature));
    }

    /// These never change: every member's name and all its data hang on them.
    #[test]
    fn the_derivations_are_golden() {
        let member = MemberSecret::from_bytes(core::array::from_fn(|at| at as u8));
        let Recipient::X25519(recipient) = member.recipient_key().recipient() else { panic!("a member has X25519") };
        assert_eq!(hex(&member.id().0), "eff09fff301c708879aedbad727e2abce2cc308914efae2e0a8bac517090fb2a");
        assert_eq!(hex(&recipient), "ed7b3376c369d778fd0090eefb7b4114d192591dd97263bc33ebf0066fafbe79");
        assert_eq!(hex(&member.node_id(0).0), "d29a524ffa1e0846a59298ed244b7607306c9c431eec6b515a50562da7d9cc40");
        assert_eq!(
            hex(&member.node_id(0x0102_0304).0),
            "93b3f254cb0064fbbe304e56b7dc84762c33b5e6b33e898cd8ba5d6d44f4b778"
        );
    }
}
