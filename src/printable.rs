//! Text that is safe to print, whatever a file holds.
//!
//! Names of nodes, tensors and files come from strangers. Printed raw, a control character in one
//! can colour or move what a terminal shows, write its clipboard (OSC 52), begin a line that a CI
//! system takes for a command (`::error::`) or turn the direction of text. So every text that
//! leaves the tool passes through here: what cannot be seen is written as an escape.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` as one line in which every character can be seen: control and format characters, line
/// ends included, are written as `\n` or `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    let Some((clean, _)) = text.char_indices().find(|&(_, c)| !is_visible(c)) else {
        return Cow::Borrowed(text);
    };
    let (clean, rest) = text.split_at(clean);
    let mut out = clean.to_owned();
    for c in rest.chars() {
        match is_visible(c) {
            true => out.push(c),
            false => out.extend(c.escape_debug()),
        }
    }
    Cow::Owned(out)
}

/// `text` as one printable line in which line ends have become spaces: messages of libraries may
/// have several lines.
pub fn printable_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    printable(&lines.join(" ")).into_owned()
}

/// `text` with its line ends kept, each line [`printable`].
pub fn printable_lines(text: &str) -> String {
    let lines: Vec<Cow<'_, str>> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

/// JSON that is safe to print: what cannot be seen is written as `\u001b`, which means the same.
/// Between strings JSON has line ends and spaces alone.
pub fn printable_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || is_visible(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

/// Whether a character shows itself and nothing else happens: neither control nor format
/// character, no separator but the space, and assigned.
fn is_visible(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // Behind a letter, so that a combining accent counts as visible.
    let shown = ['a', c].iter().collect::<String>();
    shown.escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_seen_stays() {
        for text in [
            "/features/0/Conv",
            r"C:\models\a 'b'.onnx",
            "größe → 卷积 é e\u{301}",
            "",
        ] {
            assert_eq!(printable(text), text);
            assert_eq!(printable_lines(text), text);
            assert_eq!(printable_json(text), text);
        }
    }

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        for (text, safe) in [
            ("a\u{1b}[31mb", r"a\u{1b}[31mb"),
            ("\u{1b}]52;c;aGk=\u{7}", r"\u{1b}]52;c;aGk=\u{7}"),
            ("a\n::error::b", r"a\n::error::b"),
            ("a\r\tb", r"a\r\tb"),
            // C1 control characters, DEL, direction, line separators, byte-order mark, not assigned.
            ("\u{9b}2J\u{7f}", r"\u{9b}2J\u{7f}"),
            ("\u{202e}cba\u{2028}", r"\u{202e}cba\u{2028}"),
            ("\u{feff}\u{fffe}\u{200b}", r"\u{feff}\u{fffe}\u{200b}"),
            ("\u{e0041}", r"\u{e0041}"),
        ] {
            assert_eq!(printable(text), safe);
            let parsed: String =
                serde_json::from_str(&printable_json(&serde_json::to_string(text).unwrap()))
                    .unwrap();
            assert_eq!(parsed, text);
        }
    }

    #[test]
    fn lines_are_joined_or_kept() {
        assert_eq!(printable_line("one\n  two\u{7}\r\n"), r"one two\u{7}");
        assert_eq!(printable_lines("one\n\u{7}two\n"), "one\n\\u{7}two\n");
        let json = printable_json("{\n  \"a\": \"\u{7f}\u{e0041}\"\n}");
        assert_eq!(json, "{\n  \"a\": \"\\u007f\\udb40\\udc41\"\n}");
    }
}
