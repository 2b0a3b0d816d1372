//! How `sub` prints a message: `-F` formats, `-v`, and JSON lines.

use base64ct::{Base64, Encoding};
use serde::Serialize;

use super::units::show_time;
use crate::base::ids::{Counter, Epoch, Fingerprint, Offset};
use crate::base::names::{Name, TopicName};
use crate::base::time::Wall;
use crate::client::{Integrity, IntegrityFault, Message};

/// A message as it is shown: whatever the client verified, nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    pub topic: &'a TopicName,
    pub content: &'a [u8],
    pub offset: Offset,
    /// When the broker received it.
    pub time: Wall,
    pub sender: &'a Name,
    pub fingerprint: Fingerprint,
    pub epoch: Epoch,
    pub counter: Counter,
}

impl<'a> From<&'a Message> for Shown<'a> {
    fn from(message: &'a Message) -> Shown<'a> {
        Shown {
            topic: &message.topic,
            content: &message.content,
            offset: message.offset,
            time: message.time,
            sender: &message.sender,
            fingerprint: message.fingerprint,
            epoch: message.epoch,
            counter: message.counter,
        }
    }
}

/// A `-F` format, parsed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Topic,
    Payload,
    PayloadHex {
        upper: bool,
    },
    Offset,
    Sender,
    Fingerprint,
    Time,
    UnixTime,
    Length,
    Json,
    /// One conversion of `strftime`, in local time.
    Clock(String),
}

impl Format {
    /// Parses `%t`, `%p` and so on, the escapes `\n \t \r \0 \e \a \v \\`, and `@X`, which is
    /// strftime's `%X`. `%%` and `@@` stand for themselves.
    pub fn parse(text: &str) -> Result<Format, String> {
        let mut pieces = Pieces::default();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => pieces.conversion(chars.next())?,
                '@' => pieces.clock(chars.next())?,
                '\\' => pieces.escape(chars.next())?,
                plain => pieces.literal(plain),
            }
        }
        Ok(Format(pieces.0))
    }

    /// The format of plain `sub`: the payload alone, or behind its topic.
    pub fn plain(with_topic: bool) -> Format {
        if with_topic {
            Format(vec![Piece::Topic, Piece::Literal(b" ".to_vec()), Piece::Payload])
        } else {
            Format(vec![Piece::Payload])
        }
    }

    /// One JSON object.
    pub fn json() -> Format {
        Format(vec![Piece::Json])
    }

    /// Appends `message` in this format, without a newline.
    pub fn render(&self, message: &Shown<'_>, out: &mut Vec<u8>) {
        for piece in &self.0 {
            piece.render(message, out);
        }
    }
}

impl Piece {
    fn render(&self, m: &Shown<'_>, out: &mut Vec<u8>) {
        let text = match self {
            Piece::Literal(bytes) => return out.extend_from_slice(bytes),
            Piece::Payload => return out.extend_from_slice(m.content),
            Piece::PayloadHex { upper } => hex(m.content, *upper),
            Piece::Topic => m.topic.to_string(),
            Piece::Offset => m.offset.to_string(),
            Piece::Sender => m.sender.to_string(),
            Piece::Fingerprint => m.fingerprint.to_string(),
            Piece::Time => show_time(m.time),
            Piece::UnixTime => format!("{}.{:03}", m.time.secs(), m.time.0 % 1000),
            Piece::Length => m.content.len().to_string(),
            Piece::Json => json_line(m),
            Piece::Clock(conversion) => clock(conversion, m.time),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// The pieces found so far; literals that stand side by side are one piece.
#[derive(Default)]
struct Pieces(Vec<Piece>);

impl Pieces {
    fn literal(&mut self, c: char) {
        if !matches!(self.0.last(), Some(Piece::Literal(_))) {
            self.0.push(Piece::Literal(Vec::new()));
        }
        if let Some(Piece::Literal(bytes)) = self.0.last_mut() {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    fn conversion(&mut self, letter: Option<char>) -> Result<(), String> {
        let piece = match letter {
            Some('%') => {
                self.literal('%');
                return Ok(());
            }
            Some('t') => Piece::Topic,
            Some('p') => Piece::Payload,
            Some('x') => Piece::PayloadHex { upper: false },
            Some('X') => Piece::PayloadHex { upper: true },
            Some('o') => Piece::Offset,
            Some('s') => Piece::Sender,
            Some('f') => Piece::Fingerprint,
            Some('I') => Piece::Time,
            Some('U') => Piece::UnixTime,
            Some('l') => Piece::Length,
            Some('j' | 'J') => Piece::Json,
            Some(other) => return Err(format!("has %{other}, which is unknown; {KNOWN}")),
            None => return Err(format!("ends in a lone %; write %% for the character itself; {KNOWN}")),
        };
        self.0.push(piece);
        Ok(())
    }

    fn clock(&mut self, letter: Option<char>) -> Result<(), String> {
        match letter {
            Some('@') => self.literal('@'),
            Some(c) if CLOCK_CONVERSIONS.contains(c) => self.0.push(Piece::Clock(format!("%{c}"))),
            Some(c) => {
                return Err(format!(
                    "has @{c}, which strftime does not know; write @@ for the character itself"
                ));
            }
            None => return Err("ends in a lone @; write @@ for the character itself".to_owned()),
        }
        Ok(())
    }

    fn escape(&mut self, letter: Option<char>) -> Result<(), String> {
        let c = match letter {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('0') => '\0',
            Some('a') => '\x07',
            Some('e') => '\x1b',
            Some('v') => '\x0b',
            Some('\\') => '\\',
            Some(other) => {
                return Err(format!("has \\{other}, which is unknown; write \\\\ for a backslash"));
            }
            None => return Err("ends in a lone backslash; write \\\\ for one".to_owned()),
        };
        self.literal(c);
        Ok(())
    }
}

/// A message as one JSON object, without a newline.
pub fn json_line(m: &Shown<'_>) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        topic: &'a str,
        offset: u64,
        time: String,
        sender: &'a str,
        fingerprint: String,
        epoch: u32,
        counter: u64,
        verified: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload_b64: Option<String>,
        length: usize,
    }
    let text = std::str::from_utf8(m.content).ok();
    let line = Line {
        topic: m.topic.as_str(),
        offset: m.offset.0,
        time: show_time(m.time),
        sender: m.sender.as_str(),
        fingerprint: m.fingerprint.to_string(),
        epoch: m.epoch.0,
        counter: m.counter.0,
        // Others are not shown.
        verified: true,
        payload: text,
        payload_b64: text.is_none().then(|| Base64::encode_string(m.content)),
        length: m.content.len(),
    };
    serde_json::to_string(&line).expect("strings and numbers always serialise")
}

/// Something that did not verify, as one JSON object among messages.
pub fn integrity_line(fault: &Integrity) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        event: &'a str,
        kind: &'a str,
        topic: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sender: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        counter: Option<u64>,
        text: String,
        verified: bool,
        stopped: bool,
    }
    let line = Line {
        event: "integrity",
        kind: kind(fault),
        topic: fault.topic.as_str(),
        offset: fault.offset.map(|offset| offset.0),
        sender: fault.sender.as_ref().map(Name::as_str),
        counter: fault.counter.map(|counter| counter.0),
        text: fault.fault.to_string(),
        verified: false,
        stopped: fault.stopped,
    };
    serde_json::to_string(&line).expect("strings and numbers always serialise")
}

/// Messages that are no longer kept, the same way.
pub fn gap_line(topic: &TopicName, from: Offset, to: Offset) -> String {
    let line = serde_json::json!({ "event": "gap", "topic": topic.as_str(), "from": from.0, "to": to.0 });
    line.to_string()
}

/// In one word, for scripts.
fn kind(fault: &Integrity) -> &'static str {
    match &fault.fault {
        _ if fault.stopped => "topic",
        IntegrityFault::NoKey { .. } => "no key",
        IntegrityFault::Missing { .. } | IntegrityFault::Skipped { .. } => "missing",
        IntegrityFault::Replayed { .. } => "replayed",
        IntegrityFault::Rewritten { .. } | IntegrityFault::WrongCounter { .. } => "reordered",
        _ => "forged",
    }
}

/// `time` as strftime's `conversion` shows it in the local time zone.
pub fn clock(conversion: &str, time: Wall) -> String {
    let ms = i64::try_from(time.0).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(stamp) => stamp.to_zoned(jiff::tz::TimeZone::system()).strftime(conversion).to_string(),
        Err(_) => time.to_string(),
    }
}

fn hex(bytes: &[u8], upper: bool) -> String {
    bytes.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect()
}

const KNOWN: &str = "there are %t topic, %p payload, %x payload in hex, %o offset, %s sender, %f fingerprint, \
                     %I time, %U Unix time, %l length, %j JSON";

/// Those conversions of strftime that need neither an argument nor a locale.
const CLOCK_CONVERSIONS: &str = "aAbBCdDeFgGhHIjklmMNpPQrRsStTuUVwWyYzZ";

#[cfg(test)]
mod tests {
    use super::*;

    fn render(format: &Format, content: &[u8]) -> Vec<u8> {
        let topic = TopicName::parse("home/kitchen").expect("a good topic");
        let sender = Name::parse("alice").expect("a good name");
        let message = Shown {
            topic: &topic,
            content,
            offset: Offset(7),
            time: Wall(1_795_419_197_250),
            sender: &sender,
            fingerprint: Fingerprint([0xab; 32]),
            epoch: Epoch(1),
            counter: Counter(3),
        };
        let mut out = Vec::new();
        format.render(&message, &mut out);
        out
    }

    #[test]
    fn every_conversion() {
        let cases = [
            ("", ""),
            ("%t %p", "home/kitchen 21.5"),
            ("%o|%s|%l", "7|alice|4"),
            ("%x %X", "32312e35 32312E35"),
            ("%I", "2026-11-23T07:33:17.250Z"),
            ("%U", "1795419197.250"),
            ("100%% \\\\ a@@b\\n", "100% \\ a@b\n"),
            ("ü%pü", "ü21.5ü"),
            ("@Y-@s", "2026-1795419197"),
        ];
        for (format, expected) in cases {
            let format = Format::parse(format).expect("a good format");
            assert_eq!(String::from_utf8(render(&format, b"21.5")).expect("UTF-8"), expected);
        }
        assert_eq!(render(&Format::plain(false), b"\xff\0"), b"\xff\0");
        assert_eq!(render(&Format::plain(true), b"x"), b"home/kitchen x");
        assert_eq!(render(&Format::parse("%f").expect("good"), b""), "ab".repeat(32).as_bytes());
    }

    #[test]
    fn every_clock_conversion_is_known_to_the_library() {
        for c in CLOCK_CONVERSIONS.chars() {
            let format = Format::parse(&format!("@{c}")).expect("a good format");
            assert!(!render(&format, b"").is_empty(), "@{c}");
        }
    }

    #[test]
    fn what_is_wrong_stands_among_the_messages() {
        let fault = |fault, stopped| Integrity {
            topic: TopicName::parse("a").expect("a good topic"),
            offset: Some(Offset(7)),
            sender: Some(Name::parse("alice").expect("a good name")),
            counter: Some(Counter(3)),
            fault,
            stopped,
        };
        let line =
            |fault| -> serde_json::Value { serde_json::from_str(&integrity_line(&fault)).expect("JSON") };
        let missing = IntegrityFault::Missing { expected: Counter(1), got: Counter(3) };
        let said = line(fault(missing, false));
        assert_eq!((&said["event"], &said["kind"]), (&"integrity".into(), &"missing".into()));
        assert_eq!((&said["topic"], &said["offset"]), (&"a".into(), &7.into()));
        assert_eq!((&said["sender"], &said["counter"]), (&"alice".into(), &3.into()));
        assert_eq!(line(fault(IntegrityFault::BadSignature, false))["kind"], "forged");
        assert_eq!(line(fault(IntegrityFault::Replayed { counter: Counter(3) }, false))["kind"], "replayed");
        assert_eq!(line(fault(IntegrityFault::OtherHistory, true))["stopped"], true);
        let gap = gap_line(&TopicName::parse("a").expect("a good topic"), Offset(2), Offset(5));
        let gap: serde_json::Value = serde_json::from_str(&gap).expect("JSON");
        assert_eq!((&gap["event"], &gap["from"], &gap["to"]), (&"gap".into(), &2.into(), &5.into()));
    }

    #[test]
    fn bad_formats_are_named() {
        for (bad, word) in
            [("%", "lone %"), ("%q", "%q"), ("@", "lone @"), ("@!", "@!"), ("\\", "lone"), ("\\q", "\\q")]
        {
            let error = Format::parse(bad).expect_err("a bad format");
            assert!(error.contains(word), "{bad}: {error}");
        }
    }

    #[test]
    fn json_carries_text_as_text_and_the_rest_as_base64() {
        let text: serde_json::Value =
            serde_json::from_slice(&render(&Format::json(), "21,5 \"°C\"\n".as_bytes())).expect("JSON");
        assert_eq!(text["payload"], "21,5 \"°C\"\n");
        assert_eq!(text["topic"], "home/kitchen");
        assert_eq!(text["offset"], 7);
        assert_eq!(text["time"], "2026-11-23T07:33:17.250Z");
        assert_eq!(text["sender"], "alice");
        assert_eq!(text["fingerprint"], "ab".repeat(32));
        assert_eq!((&text["epoch"], &text["counter"]), (&1.into(), &3.into()));
        assert_eq!((&text["length"], &text["verified"]), (&11.into(), &true.into()));
        assert!(text.get("payload_b64").is_none());
        let binary = render(&Format::json(), b"\xff\xfe");
        assert!(!binary.contains(&b'\n'));
        let binary: serde_json::Value = serde_json::from_slice(&binary).expect("JSON");
        assert_eq!(binary["payload_b64"], "//4=");
        assert!(binary.get("payload").is_none());
    }
}
