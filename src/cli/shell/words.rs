//! Parts a typed line into words, as a Unix shell does: quotes, backslashes, comments.

use std::fmt;

/// Why a line could not be parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordsError {
    OpenQuote(char),
    LoneBackslash,
}

/// The words of `line`.
///
/// Between `'` all is literal; between `"` a backslash keeps `"` and `\` literal; outside, it
/// does so with any character. A word that begins with `#` begins a comment, unless it has
/// something behind it as the filter `#` alone may: a lone `#` is a word.
pub fn split(line: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(&first) = chars.peek() else { return Ok(words) };
        let rest_is_comment =
            first == '#' && chars.clone().nth(1).is_some_and(|c| !c.is_whitespace() && c != '/');
        if rest_is_comment || (first == '#' && words.is_empty()) {
            return Ok(words);
        }
        words.push(word(&mut chars)?);
    }
}

/// The word that is being typed at the end of `line`: where it begins, and its text so far.
pub fn last_word(line: &str) -> (usize, String) {
    let mut start = 0;
    let mut quote = None;
    let mut text = String::new();
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                start = at + c.len_utf8();
                text.clear();
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if c == q => quote = None,
            (None | Some('"'), '\\') => text.extend(chars.next().map(|(_, escaped)| escaped)),
            (_, c) => text.push(c),
        }
    }
    (start, text)
}

/// `text` as it is to be typed so that [`split`] gives it back as one word.
pub fn quote(text: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '\'' | '"' | '\\');
    if !text.is_empty() && text.chars().all(plain) && !text.starts_with('#') {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn word(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, WordsError> {
    let mut word = String::new();
    while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
        match c {
            '\'' => loop {
                match chars.next().ok_or(WordsError::OpenQuote('\''))? {
                    '\'' => break,
                    literal => word.push(literal),
                }
            },
            '"' => loop {
                match chars.next().ok_or(WordsError::OpenQuote('"'))? {
                    '"' => break,
                    '\\' => match chars.next().ok_or(WordsError::OpenQuote('"'))? {
                        escaped @ ('"' | '\\') => word.push(escaped),
                        other => word.extend(['\\', other]),
                    },
                    literal => word.push(literal),
                }
            },
            '\\' => word.push(chars.next().ok_or(WordsError::LoneBackslash)?),
            plain => word.push(plain),
        }
    }
    Ok(word)
}

impl fmt::Display for WordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WordsError::OpenQuote(quote) => write!(f, "a {quote} is not closed; write \\{quote} for one"),
            WordsError::LoneBackslash => write!(f, "the line ends in a backslash; write \\\\ for one"),
        }
    }
}

impl std::error::Error for WordsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parted_as_a_shell_does() {
        let cases: [(&str, &[&str]); 14] = [
            ("", &[]),
            ("   ", &[]),
            ("publish home/kitchen  21.5", &["publish", "home/kitchen", "21.5"]),
            ("a 'b c' d", &["a", "b c", "d"]),
            ("a \"b 'c' \\\" \\\\ \\n\" d", &["a", "b 'c' \" \\ \\n", "d"]),
            ("a\\ b c\\'d", &["a b", "c'd"]),
            ("x''y \"\"", &["xy", ""]),
            ("'ä ö'ü", &["ä öü"]),
            ("sub #", &["sub", "#"]),
            ("sub home/#", &["sub", "home/#"]),
            ("sub # --from latest", &["sub", "#", "--from", "latest"]),
            ("# a comment", &[]),
            ("sub a #comment", &["sub", "a"]),
            ("#comment", &[]),
        ];
        for (line, expected) in cases {
            assert_eq!(split(line).expect(line), expected, "{line}");
        }
        assert_eq!(split("a 'b"), Err(WordsError::OpenQuote('\'')));
        assert_eq!(split("a \"b\\"), Err(WordsError::OpenQuote('"')));
        assert_eq!(split("a\\"), Err(WordsError::LoneBackslash));
    }

    #[test]
    fn quoting_and_splitting_are_inverse() {
        for text in ["a", "a b", "it's", "", "#", "#a", "\"", "\\", "ä\tö", "''"] {
            assert_eq!(split(&format!("x {}", quote(text))).expect(text), ["x", text], "{text}");
        }
    }

    #[test]
    fn the_word_at_the_cursor() {
        for (line, start, text) in [
            ("", 0, ""),
            ("pub", 0, "pub"),
            ("pub ", 4, ""),
            ("pub home/ki", 4, "home/ki"),
            ("pub 'my ho", 4, "my ho"),
            ("pub my\\ ho", 4, "my ho"),
            ("ü ä", 3, "ä"),
        ] {
            assert_eq!(last_word(line), (start, text.to_owned()), "{line}");
        }
    }
}
