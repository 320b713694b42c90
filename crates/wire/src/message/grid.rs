//! Messages about grids.

use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use crate::hello::Token;
use alloc::string::String;
use alloc::vec::Vec;
use okapi_base::limits::{GRID_NAME_MAX, GRIDS_MAX};
use okapi_base::{BlockSize, Durability};

/// Opens a grid. Body: token 32 bytes, name text. Answered by a [`GridInfo`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridOpen {
    /// The grid's token, or none where the asker is the owner or the grid is public.
    pub token: Token,
    /// Its name.
    pub name: String,
}

/// Names a grid (to drop it). Body: name text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
}

/// Makes a grid. Body: block size u32, durability u8, public u8, reserved u16, name text, engine text (empty: the
/// node's own choice). Answered by a [`GridCreated`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridCreate {
    /// Its name.
    pub name: String,
    /// The capacity of its blocks.
    pub block_size: BlockSize,
    /// How safe an acknowledged put is.
    pub durability: Durability,
    /// Whether everyone who reaches the node may open it.
    pub public: bool,
    /// The engine that is to hold it (`log`, `memory`, `fjall`), or empty for the node's own choice.
    pub engine: String,
}

/// A grid, as the node sees it. Body: handle u32, id u32, block size u32, durability u8, public u8, reserved u16,
/// blocks u64, bytes u64, records u64, name text, engine text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridInfo {
    /// The number by which frames of this connection name it; 0 if it is not open.
    pub handle: u32,
    /// Its number on the node, never used again.
    pub id: u32,
    /// The capacity of its blocks.
    pub block_size: BlockSize,
    /// How safe an acknowledged put is.
    pub durability: Durability,
    /// Whether everyone who reaches the node may open it.
    pub public: bool,
    /// Occupied blocks.
    pub blocks: u64,
    /// Bytes in them (durable engines count in units of 64).
    pub bytes: u64,
    /// Named records.
    pub records: u64,
    /// Its name.
    pub name: String,
    /// The engine that holds it.
    pub engine: String,
}

/// A grid just made. Body: token 32 bytes, then a [`GridInfo`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridCreated {
    /// The token that opens it from elsewhere.
    pub token: Token,
    /// The grid, not yet opened.
    pub info: GridInfo,
}

/// All grids the asker may see. Body: list of [`GridInfo`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridList {
    /// Ordered by name.
    pub grids: Vec<GridInfo>,
}

/// The longest name of an engine.
const ENGINE_NAME_MAX: usize = 16;

pub(super) fn block_size(body: &mut BodyReader<'_>) -> Result<BlockSize, BodyError> {
    BlockSize::new(body.u32()?).ok_or(BodyError::BadValue { field: "block size" })
}

fn durability(body: &mut BodyReader<'_>) -> Result<Durability, BodyError> {
    Durability::from_code(body.u8()?).ok_or(BodyError::BadValue { field: "durability" })
}

fn yes_or_no(body: &mut BodyReader<'_>, field: &'static str) -> Result<bool, BodyError> {
    match body.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(BodyError::BadValue { field }),
    }
}

impl Message for GridOpen {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.token.0);
        body.text(&self.name);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { token: Token(body.array()?), name: body.text(GRID_NAME_MAX)? })
    }
}

impl Message for Named {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.text(&self.name);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { name: body.text(GRID_NAME_MAX)? })
    }
}

impl Message for GridCreate {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u32(self.block_size.bytes());
        body.u8(self.durability.code());
        body.u8(u8::from(self.public));
        body.u16(0);
        body.text(&self.name);
        body.text(&self.engine);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let block_size = block_size(body)?;
        let durability = durability(body)?;
        let public = yes_or_no(body, "public")?;
        body.u16()?;
        Ok(Self {
            block_size,
            durability,
            public,
            name: body.text(GRID_NAME_MAX)?,
            engine: body.text(ENGINE_NAME_MAX)?,
        })
    }
}

impl Message for GridInfo {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u32(self.handle);
        body.u32(self.id);
        body.u32(self.block_size.bytes());
        body.u8(self.durability.code());
        body.u8(u8::from(self.public));
        body.u16(0);
        body.u64(self.blocks);
        body.u64(self.bytes);
        body.u64(self.records);
        body.text(&self.name);
        body.text(&self.engine);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (handle, id, block_size) = (body.u32()?, body.u32()?, block_size(body)?);
        let (durability, public, _) = (durability(body)?, yes_or_no(body, "public")?, body.u16()?);
        let (blocks, bytes, records) = (body.u64()?, body.u64()?, body.u64()?);
        let (name, engine) = (body.text(GRID_NAME_MAX)?, body.text(ENGINE_NAME_MAX)?);
        Ok(Self { handle, id, block_size, durability, public, blocks, bytes, records, name, engine })
    }
}

impl Message for GridCreated {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.token.0);
        self.info.encode(body);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { token: Token(body.array()?), info: GridInfo::decode(body)? })
    }
}

impl Message for GridList {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.list(&self.grids);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { grids: body.list(GRIDS_MAX)? })
    }
}
