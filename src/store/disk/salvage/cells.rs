//! Rows out of a page, by the file format (1.6, 2.1): nothing that is found in a page is believed
//! before it is bounded, and no row before its checksum, which is somebody else's business.

use rusqlite::types::Value;

use super::image::{Image, PAGE_BYTES};

/// A row's place in a page.
pub(super) struct Cell {
    /// The row's number, in the tables that have one.
    key: Option<i64>,
    payload_bytes: usize,
    local: Vec<u8>,
    overflow: Option<u32>,
}

/// All rows of a page; none of a page inside a tree of numbered rows.
pub(super) fn of(page: &[u8], start: usize) -> Vec<Cell> {
    let kind = kind(page, start);
    let header_bytes = match kind {
        TABLE_INTERIOR => return Vec::new(),
        INDEX_INTERIOR => 12,
        _ => 8,
    };
    pointers(page, start, header_bytes).filter_map(|at| cell(page, at, kind)).collect()
}

/// The pages below one.
pub(super) fn children(page: &[u8]) -> Vec<u32> {
    if !matches!(kind(page, 0), TABLE_INTERIOR | INDEX_INTERIOR) {
        return Vec::new();
    }
    let places = pointers(page, 0, 12).chain([8]);
    places.filter_map(|at| page.get(at..at + 4)).map(number).collect()
}

/// Where the tree begins that a row of the schema is about.
pub(super) fn root_of(cell: &Cell, image: &Image) -> Option<u32> {
    match cell.values(image)?.get(3)? {
        Value::Integer(root) => u32::try_from(*root).ok(),
        _ => None,
    }
}

/// A page of a tree whose kind is none is most likely one with rows.
fn kind(page: &[u8], start: usize) -> u8 {
    match page.get(start).copied() {
        Some(kind @ (INDEX_INTERIOR | TABLE_INTERIOR | INDEX_LEAF)) => kind,
        _ => TABLE_LEAF,
    }
}

fn pointers(page: &[u8], start: usize, header_bytes: usize) -> impl Iterator<Item = usize> + '_ {
    let count = page.get(start + 3..start + 5).map_or(0, short);
    let array = page.get(start + header_bytes..).unwrap_or_default();
    array.chunks_exact(2).take(count).map(short)
}

fn cell(page: &[u8], at: usize, kind: u8) -> Option<Cell> {
    let mut rest = page.get(at..)?;
    if kind == INDEX_INTERIOR {
        rest = rest.get(4..)?;
    }
    let payload_bytes = usize::try_from(varint(&mut rest)?).ok().filter(|len| *len <= ROW_BYTES_MAX)?;
    let key = if kind == TABLE_LEAF { Some(varint(&mut rest)? as i64) } else { None };
    let local_bytes = local_bytes(payload_bytes, kind);
    let local = rest.get(..local_bytes)?.to_vec();
    let overflow = match local_bytes < payload_bytes {
        true => Some(number(rest.get(local_bytes..local_bytes + 4)?)),
        false => None,
    };
    Some(Cell { key, payload_bytes, local, overflow })
}

/// How much of a row is in the page itself (1.6).
fn local_bytes(payload: usize, kind: u8) -> usize {
    let most = if kind == TABLE_LEAF { PAGE_BYTES - 35 } else { (PAGE_BYTES - 12) * 64 / 255 - 23 };
    let least = (PAGE_BYTES - 12) * 32 / 255 - 23;
    if payload <= most {
        return payload;
    }
    let fitting = least + (payload - least) % (PAGE_BYTES - 4);
    if fitting <= most { fitting } else { least }
}

impl Cell {
    /// So many columns, by the row's own header.
    pub(super) fn columns(&self) -> usize {
        types(&self.local).map_or(0, |(types, _)| types.len())
    }

    /// The columns, the row's number in place of the column that has it; `None` if it is no row.
    pub(super) fn values(&self, image: &Image) -> Option<Vec<Value>> {
        let payload = self.payload(image)?;
        let (types, mut rest) = types(&payload)?;
        let mut values = Vec::with_capacity(types.len());
        for kind in types {
            values.push(value(kind, &mut rest)?);
        }
        if let (Some(key), Some(first @ Value::Null)) = (self.key, values.first_mut()) {
            *first = Value::Integer(key);
        }
        Some(values)
    }

    fn payload(&self, image: &Image) -> Option<Vec<u8>> {
        let mut payload = self.local.clone();
        let mut next = self.overflow;
        while payload.len() < self.payload_bytes {
            let page = image.page(next?)?;
            let (head, body) = page.split_at(4);
            let len = body.len().min(self.payload_bytes - payload.len());
            payload.extend_from_slice(&body[..len]);
            next = Some(number(head));
        }
        Some(payload)
    }
}

/// The types of a row's columns, and what follows them (2.1).
fn types(payload: &[u8]) -> Option<(Vec<u64>, &[u8])> {
    let mut rest = payload;
    let header_bytes = usize::try_from(varint(&mut rest)?).ok()?;
    let taken = payload.len() - rest.len();
    let mut header = payload.get(taken..header_bytes)?;
    let mut types = Vec::new();
    while !header.is_empty() {
        types.push(varint(&mut header)?);
    }
    Some((types, &payload[header_bytes..]))
}

fn value(kind: u64, rest: &mut &[u8]) -> Option<Value> {
    let integer = |bytes: &[u8]| {
        let negative = bytes.first().is_some_and(|first| first & 0x80 > 0);
        bytes.iter().fold(if negative { -1 } else { 0_i64 }, |sum, byte| sum << 8 | i64::from(*byte))
    };
    Some(match kind {
        0 => Value::Null,
        1..=4 => Value::Integer(integer(take(rest, kind)?)),
        5 => Value::Integer(integer(take(rest, 6)?)),
        6 => Value::Integer(integer(take(rest, 8)?)),
        8 => Value::Integer(0),
        9 => Value::Integer(1),
        12.. if kind.is_multiple_of(2) => Value::Blob(take(rest, (kind - 12) / 2)?.to_vec()),
        13.. => Value::Text(String::from_utf8(take(rest, (kind - 13) / 2)?.to_vec()).ok()?),
        // We keep no fractions.
        _ => return None,
    })
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    *rest = left;
    Some(taken)
}

/// Seven bits a byte, the highest first; all eight of a ninth.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for at in 0..9 {
        let byte = u64::from(*rest.get(at)?);
        if at == 8 {
            *rest = &rest[9..];
            return Some(value << 8 | byte);
        }
        value = value << 7 | byte & 0x7f;
        if byte & 0x80 == 0 {
            *rest = &rest[at + 1..];
            return Some(value);
        }
    }
    None
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn short(bytes: &[u8]) -> usize {
    bytes.iter().take(2).fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

const INDEX_INTERIOR: u8 = 2;
const TABLE_INTERIOR: u8 = 5;
const INDEX_LEAF: u8 = 10;
const TABLE_LEAF: u8 = 13;
/// A record of 1,024 wraps takes a half, a body of the largest size a quarter.
const ROW_BYTES_MAX: usize = 4 * 1024 * 1024;
