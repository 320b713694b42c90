//! The message by which a program goes on to another member's node.

use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use crate::message::group::NODE_NAME_MAX;
use alloc::string::String;
use okapi_base::NodeId;

/// Joins the connection to a stream to another member's node: once it is answered with `Ok`, bytes pass both ways, and
/// the asker says hello to that node. The last ask of its connection to this one, however it ends. Body: node 32, name
/// text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The node, or zeros where `name` says which.
    pub node: NodeId,
    /// What people call the node, or the first digits of its id or its member's.
    pub name: String,
}

impl Message for Route {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.node.0);
        body.text(&self.name);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        // Sixty-four digits name a node too.
        Ok(Self { node: NodeId(body.array()?), name: body.text(NODE_NAME_MAX)? })
    }
}
