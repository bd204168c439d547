use std::any::{Any, TypeId};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tiebeam_wire::codec::{self, DecodeError};

use crate::actor::{Dispatch, Immediate, Later};
use crate::message::{Decode, Typed};
use crate::raw::item::Item;
use crate::remote::CODEC_VERSION;
use crate::{Actor, CallError, Deferred, Handler, ReplyTo};

/// Lists the messages that an actor takes from other nodes, each under a tag that stays the same for ever.
/// As in `Table::new().call::<Reserve>(1).cast::<Note>(2).call_deferred::<Audit>(3)`. A tag is part of the wire format: it is
/// never given to another type, and a type that changes gets a new one.
pub struct Table<A: Actor> {
    by_tag: BTreeMap<u32, Entry<A>>,
    by_type: ByType<u32>,
}

/// What must be known of one message type. Its types are forgotten, so that a local call never asks for serde.
pub(crate) struct Entry<A: Actor> {
    pub(crate) tag: u32,
    pub(crate) name: &'static str,
    pub(crate) decode: Decode<A>,
    /// Encodes the message; `None` if it is of another type.
    pub(crate) encode: fn(&dyn Any) -> Option<Vec<u8>>,
    /// Decodes the reply.
    pub(crate) decode_reply: DecodeReply,
}

type DecodeReply = fn(&[u8]) -> Result<Box<dyn Any + Send>, DecodeError>;

impl<A: Actor> Table<A> {
    /// Makes an empty table: no other node may send anything.
    #[must_use]
    pub fn new() -> Self {
        Self { by_tag: BTreeMap::new(), by_type: ByType::default() }
    }

    /// Adds messages of type `M`, answered by the actor's [`Handler`], under `tag`; they may be called and cast.
    ///
    /// # Panics
    /// If the tag or the type is in the table already: the actor could not be reached as it is meant to be.
    #[must_use]
    pub fn call<M>(self, tag: u32) -> Self
    where
        A: Handler<M>,
        M: Serialize + DeserializeOwned + Send + 'static,
        A::Reply: Serialize + DeserializeOwned,
    {
        self.add::<M, Immediate>(tag)
    }

    /// Adds messages of type `M`, answered by the actor's [`Deferred`], under `tag`.
    ///
    /// # Panics
    /// As [`Table::call`] does.
    #[must_use]
    pub fn call_deferred<M>(self, tag: u32) -> Self
    where
        A: Deferred<M>,
        M: Serialize + DeserializeOwned + Send + 'static,
        A::Reply: Serialize + DeserializeOwned,
    {
        self.add::<M, Later>(tag)
    }

    /// Adds messages of type `M` that have no answer, under `tag`.
    ///
    /// # Panics
    /// As [`Table::call`] does.
    #[must_use]
    pub fn cast<M>(self, tag: u32) -> Self
    where
        A: Handler<M, Reply = ()>,
        M: Serialize + DeserializeOwned + Send + 'static,
    {
        self.add::<M, Immediate>(tag)
    }

    /// Returns tag and bytes of a message as actors of type `A` take it from other nodes; nothing if the table doesn't hold
    /// its type. For whoever carries one message to many.
    #[must_use]
    pub fn encode<M: Send + 'static>(message: &M) -> Option<(u32, Vec<u8>)> {
        let entry = table_of::<A>().entry_of::<M>()?;
        Some((entry.tag, (entry.encode)(message)?))
    }

    /// Decodes the answer to a message of type `M` as actors of type `A` write it; nothing if the table doesn't hold `M`, or
    /// these are not the bytes of its answer.
    #[must_use]
    pub fn decode_answer<M, Mode>(answer: &[u8]) -> Option<A::Answer>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        let entry = table_of::<A>().entry_of::<M>()?;
        (entry.decode_reply)(answer).ok()?.downcast().ok().map(|answer| *answer)
    }

    fn add<M, Mode>(mut self, tag: u32) -> Self
    where
        A: Dispatch<M, Mode>,
        M: Serialize + DeserializeOwned + Send + 'static,
        Mode: 'static,
        A::Answer: Serialize + DeserializeOwned,
    {
        let name = std::any::type_name::<M>();
        let entry = Entry {
            tag,
            name,
            decode: decode::<A, M, Mode>,
            encode: |message| message.downcast_ref::<M>().map(|message| codec::encode(CODEC_VERSION, message)),
            decode_reply: |body| Ok(Box::new(codec::decode::<A::Answer>(CODEC_VERSION, body)?)),
        };
        let former = self.by_tag.insert(tag, entry);
        assert!(former.is_none(), "tag {tag} of {name} is in the table of {} already", std::any::type_name::<A>());
        let former = self.by_type.insert(TypeId::of::<M>(), tag);
        assert!(former.is_none(), "message {name} is in the table of {} already", std::any::type_name::<A>());
        self
    }

    pub(crate) fn entry(&self, tag: u32) -> Option<&Entry<A>> {
        self.by_tag.get(&tag)
    }

    pub(crate) fn entry_of<M: 'static>(&self) -> Option<&Entry<A>> {
        self.by_tag.get(self.by_type.get(&TypeId::of::<M>())?)
    }
}

impl<A: Actor> Default for Table<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Actor> fmt::Debug for Table<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.by_tag.iter().map(|(tag, entry)| (tag, entry.name))).finish()
    }
}

/// Something for each of some types.
type ByType<T> = HashMap<TypeId, T, BuildHasherDefault<OfType>>;

/// Takes the hash that a type's id is made of: each message passes through such a map on its way to another node, and back.
#[derive(Default)]
struct OfType(u64);

impl Hasher for OfType {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 ^= hash;
    }

    /// For an id that is hashed in another way than today's.
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
}

type AnyTable = &'static (dyn Any + Send + Sync);

/// Returns the table of `A`, which is made once and kept: there are as many as there are types of actors.
#[inline]
pub(crate) fn table_of<A: Actor>() -> &'static Table<A> {
    thread_local! {
        /// The last that this thread asked for: one process has many messages in a row.
        static LAST: Cell<Option<(TypeId, AnyTable)>> = const { Cell::new(None) };
    }
    let id = TypeId::of::<A>();
    let table = match LAST.get() {
        Some((last, table)) if last == id => table,
        _ => {
            let table = find_table::<A>(id);
            LAST.set(Some((id, table)));
            table
        }
    };
    table.downcast_ref().expect("kept under its own type")
}

fn find_table<A: Actor>(id: TypeId) -> AnyTable {
    static TABLES: RwLock<Option<ByType<AnyTable>>> = RwLock::new(None);
    let known =
        TABLES.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|tables| tables.get(&id).copied());
    known.unwrap_or_else(|| {
        // Made without the lock: it is the actor's own code, and may panic.
        let table = Box::new(A::table());
        let mut tables = TABLES.write().unwrap_or_else(PoisonError::into_inner);
        *tables.get_or_insert_default().entry(id).or_insert_with(|| Box::leak(table))
    })
}

fn decode<A, M, Mode>(body: &[u8], reply_to: ReplyTo<()>) -> Result<Item<A>, DecodeError>
where
    A: Dispatch<M, Mode>,
    M: DeserializeOwned + Send + 'static,
    Mode: 'static,
    A::Answer: Serialize,
{
    match codec::decode::<M>(CODEC_VERSION, body) {
        Ok(message) => {
            let reply_to = reply_to.encoded_by(|reply: &A::Answer| codec::encode(CODEC_VERSION, reply));
            Ok(Item::message(Typed::<A, M, Mode> { message, reply_to }))
        }
        Err(error) => {
            reply_to.refuse(CallError::Incompatible);
            Err(error)
        }
    }
}
