//! DER, strictly: a walk that refuses what X.690 section 10 and 11 do not allow, and a
//! reader for what the walk has passed.
//!
//! The library that reads certificates is lenient: it skips bytes at the end of a sequence
//! and takes lengths, strings and times in forms that DER forbids. Whatever passes here
//! has one encoding only, so nothing can be hidden beside what the library shows.
//! One pass without recursion or allocation; the cost is linear in the input.

/// Nesting of a certificate with a directory name in an extension is 9.
const DEPTH_MAX: usize = 16;

pub const BOOLEAN: u8 = 0x01;
pub const INTEGER: u8 = 0x02;
pub const BIT_STRING: u8 = 0x03;
pub const OCTET_STRING: u8 = 0x04;
pub const OID: u8 = 0x06;
pub const UTF8_STRING: u8 = 0x0c;
pub const PRINTABLE_STRING: u8 = 0x13;
pub const UTC_TIME: u8 = 0x17;
pub const GENERALIZED_TIME: u8 = 0x18;
pub const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed: the version of a certificate, the extensions of a CRL.
pub const CONTEXT_0: u8 = 0xa0;
/// `[1]` and `[2]`, primitive: unique identifiers of issuer and subject.
pub const CONTEXT_1_PRIMITIVE: u8 = 0x81;
pub const CONTEXT_2_PRIMITIVE: u8 = 0x82;
/// `[3]`, constructed: the extensions of a certificate.
pub const CONTEXT_3: u8 = 0xa3;

const NULL: u8 = 0x05;
const ENUMERATED: u8 = 0x0a;
const IA5_STRING: u8 = 0x16;
const SET: u8 = 0x31;
const CONSTRUCTED: u8 = 0x20;
const CLASS: u8 = 0xc0;

/// What was found instead of DER. Prints as a sentence's predicate.
pub type Fault = &'static str;

/// One element: its tag, its content, and both with the length between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    pub tag: u8,
    pub content: &'a [u8],
    pub raw: &'a [u8],
}

/// Reads elements one after the other.
#[derive(Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Element<'a> {
    /// The elements inside.
    pub fn inside(&self) -> Reader<'a> {
        Reader(self.content)
    }
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever it is.
    pub fn next(&mut self) -> Result<Element<'a>, Fault> {
        let (element, rest) = split(self.0)?;
        self.0 = rest;
        Ok(element)
    }

    /// The next element, which must have this tag.
    pub fn expect(&mut self, tag: u8, otherwise: Fault) -> Result<Element<'a>, Fault> {
        self.optional(tag)?.ok_or(otherwise)
    }

    /// The next element if it has this tag; else it stays.
    pub fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, Fault> {
        if self.0.first() == Some(&tag) { self.next().map(Some) } else { Ok(None) }
    }

    /// Nothing may be left.
    pub fn end(&self, otherwise: Fault) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err(otherwise) }
    }
}

/// The one element that `bytes` is, to the last byte, walked through to its leaves.
pub fn whole(bytes: &[u8]) -> Result<Element<'_>, Fault> {
    let (element, rest) = split(bytes)?;
    if !rest.is_empty() {
        return Err(TRAILING);
    }
    walk(element)?;
    Ok(element)
}

/// The fault of [`whole`] for bytes behind the element: told apart, for it is a rule of its own.
pub const TRAILING: Fault = "has bytes after its end";

fn walk(root: Element<'_>) -> Result<(), Fault> {
    let mut open: [&[u8]; DEPTH_MAX] = [&[]; DEPTH_MAX];
    let mut depth = 0;
    let mut next = Some(root);
    loop {
        if let Some(element) = next.take() {
            check(element)?;
            if element.tag & CONSTRUCTED != 0 {
                if depth == DEPTH_MAX {
                    return Err("is nested too deeply");
                }
                open[depth] = element.content;
                depth += 1;
            }
        }
        while depth > 0 && open[depth - 1].is_empty() {
            depth -= 1;
        }
        if depth == 0 {
            return Ok(());
        }
        let (element, rest) = split(open[depth - 1])?;
        open[depth - 1] = rest;
        next = Some(element);
    }
}

/// Splits the first element off, refusing headers in any but their shortest form.
fn split(bytes: &[u8]) -> Result<(Element<'_>, &[u8]), Fault> {
    const CUT: Fault = "ends within an element";
    let [tag, first, tail @ ..] = bytes else { return Err(CUT) };
    if tag & 0x1f == 0x1f {
        return Err("has a tag number above 30");
    }
    let (length, body) = match *first {
        short @ 0..=0x7f => (usize::from(short), tail),
        0x80 => return Err("has an element of indefinite length"),
        long => {
            let digits = usize::from(long & 0x7f);
            // Three bytes of length are 16 MiB: more than anything that is read here.
            if digits > 3 {
                return Err("has a length of more than three bytes");
            }
            let Some((digits, body)) = tail.split_at_checked(digits) else { return Err(CUT) };
            let length = digits.iter().fold(0, |sum, d| sum << 8 | usize::from(*d));
            if digits[0] == 0 || length < 0x80 {
                return Err("has a length that is not in its shortest form");
            }
            (length, body)
        }
    };
    let Some((content, rest)) = body.split_at_checked(length) else { return Err(CUT) };
    let raw = &bytes[..bytes.len() - rest.len()];
    Ok((Element { tag: *tag, content, raw }, rest))
}

/// What DER says of the content of each universal type that certificates use.
fn check(element: Element<'_>) -> Result<(), Fault> {
    let content = element.content;
    match element.tag {
        SEQUENCE => Ok(()),
        SET => ascending(content),
        BOOLEAN if content != [0x00] && content != [0xff] => Err("has a BOOLEAN that is neither 00 nor ff"),
        INTEGER | ENUMERATED => minimal_integer(content),
        BIT_STRING => bit_string(content),
        NULL if !content.is_empty() => Err("has a NULL with content"),
        OID => object_identifier(content),
        UTF8_STRING if std::str::from_utf8(content).is_err() => Err("has a UTF8String that is not UTF-8"),
        PRINTABLE_STRING if !content.iter().all(|b| printable(*b)) => {
            Err("has a PrintableString with a character outside its set")
        }
        IA5_STRING if !content.is_ascii() => Err("has an IA5String that is not ASCII"),
        UTC_TIME => time(content, 13),
        GENERALIZED_TIME => time(content, 15),
        BOOLEAN | NULL | OCTET_STRING | UTF8_STRING | PRINTABLE_STRING | IA5_STRING => Ok(()),
        // NumericString, TeletexString, UniversalString, BMPString: opaque, for names not ours.
        0x12 | 0x14 | 0x1c | 0x1e => Ok(()),
        tag if tag & CLASS == 0x80 => Ok(()),
        tag if tag & CLASS == 0 => Err("has an element of a type that certificates do not use"),
        _ => Err("has an application or private tag"),
    }
}

/// SET OF: elements ordered by their encoding (X.690, 11.6), none twice.
fn ascending(content: &[u8]) -> Result<(), Fault> {
    let mut reader = Reader(content);
    let mut before: &[u8] = &[];
    while !reader.is_empty() {
        let element = reader.next()?;
        if element.raw <= before {
            return Err("has a SET that is not in order");
        }
        before = element.raw;
    }
    Ok(())
}

fn minimal_integer(content: &[u8]) -> Result<(), Fault> {
    match content {
        [] => Err("has an INTEGER without content"),
        [0x00, second, ..] if second & 0x80 == 0 => Err("has an INTEGER that is not in its shortest form"),
        [0xff, second, ..] if second & 0x80 != 0 => Err("has an INTEGER that is not in its shortest form"),
        _ => Ok(()),
    }
}

fn bit_string(content: &[u8]) -> Result<(), Fault> {
    let good = match content {
        [] => false,
        [unused] => *unused == 0,
        [unused, .., last] => *unused < 8 && last.trailing_zeros() >= u32::from(*unused),
    };
    if good { Ok(()) } else { Err("has a BIT STRING whose unused bits are not zero") }
}

fn object_identifier(content: &[u8]) -> Result<(), Fault> {
    let ends = content.last().is_some_and(|last| last & 0x80 == 0);
    // 0x80 may not begin a number: it would be a leading zero.
    let starts = |i: usize| i == 0 || content[i - 1] & 0x80 == 0;
    let padded = content.iter().enumerate().any(|(i, b)| *b == 0x80 && starts(i));
    if ends && !padded { Ok(()) } else { Err("has an OBJECT IDENTIFIER that is malformed") }
}

fn printable(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&b)
}

/// Digits to the second and a Z: the one form that RFC 5280, 4.1.2.5 allows.
fn time(content: &[u8], length: usize) -> Result<(), Fault> {
    match content.split_last() {
        Some((b'Z', digits)) if content.len() == length && digits.iter().all(u8::is_ascii_digit) => Ok(()),
        _ => Err("has a time that is not written to the second in UTC"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_der_forbids_is_refused() {
        for (bytes, why) in [
            (&[][..], "ends within"),
            (&[0x30], "ends within"),
            (&[0x30, 0x01], "ends within"),
            (&[0x30, 0x82, 0x01], "ends within"),
            (&[0x05, 0x00, 0x00], "after its end"),
            (&[0x1f, 0x20, 0x00], "tag number"),
            (&[0x30, 0x80, 0x00, 0x00], "indefinite"),
            (&[0x30, 0x84, 0, 0, 0, 0], "more than three"),
            (&[0x04, 0x81, 0x01, 0x00], "shortest"),
            (&[0x04, 0x82, 0x00, 0x80], "shortest"),
            (&[0x01, 0x01, 0x01], "BOOLEAN"),
            (&[0x01, 0x00], "BOOLEAN"),
            (&[0x02, 0x00], "INTEGER"),
            (&[0x02, 0x02, 0x00, 0x7f], "INTEGER"),
            (&[0x02, 0x02, 0xff, 0x80], "INTEGER"),
            (&[0x03, 0x00], "BIT STRING"),
            (&[0x03, 0x01, 0x01], "BIT STRING"),
            (&[0x03, 0x02, 0x08, 0x00], "BIT STRING"),
            (&[0x03, 0x02, 0x01, 0x01], "BIT STRING"),
            (&[0x05, 0x01, 0x00], "NULL"),
            (&[0x06, 0x00], "OBJECT"),
            (&[0x06, 0x01, 0x81], "OBJECT"),
            (&[0x06, 0x03, 0x2a, 0x80, 0x01], "OBJECT"),
            (&[0x0c, 0x01, 0xff], "UTF8String"),
            (&[0x13, 0x01, b'*'], "PrintableString"),
            (&[0x16, 0x01, 0x80], "IA5String"),
            (b"\x17\x0b2601010000Z", "time"),
            (b"\x17\x11260101000000+0000", "time"),
            (b"\x18\x1120260101000000.5Z", "time"),
            (&[0x24, 0x02, 0x04, 0x00], "type"),
            (&[0x09, 0x00], "type"),
            (&[0x40, 0x00], "application"),
            (&[0x31, 0x06, 0x02, 0x01, 0x02, 0x02, 0x01, 0x01], "SET"),
            (&[0x31, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01], "SET"),
            (&[0x30, 0x03, 0x04, 0x02, 0x00], "ends within"),
        ] {
            let fault = whole(bytes).expect_err(why);
            assert!(fault.contains(why), "{bytes:02x?}: {fault}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| {
            (0..depth).fold(Vec::new(), |inner: Vec<u8>, _| {
                let mut outer = vec![0x30, inner.len() as u8];
                outer.extend(inner);
                outer
            })
        };
        assert!(whole(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(whole(&nested(DEPTH_MAX + 1)), Err("is nested too deeply"));
    }

    #[test]
    fn a_reader_goes_from_element_to_element() {
        let element = whole(&[0x30, 0x05, 0x02, 0x01, 0x07, 0x05, 0x00]).expect("good DER");
        let mut inside = element.inside();
        assert_eq!(inside.optional(BOOLEAN), Ok(None));
        assert_eq!(inside.expect(INTEGER, "no number").expect("a number").content, [7]);
        assert_eq!(inside.expect(INTEGER, "no number"), Err("no number"));
        assert_eq!(inside.end("more"), Err("more"));
        assert_eq!(inside.next().expect("a NULL").raw, [0x05, 0x00]);
        assert_eq!(inside.end("more"), Ok(()));
    }
}
