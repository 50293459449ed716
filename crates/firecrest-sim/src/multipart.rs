//! The one file of a multipart form.

use memchr::memmem::find;
use percent_encoding::percent_decode_str;

/// A file as a form carries it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FormFile<'a> {
    pub(crate) name: String,
    pub(crate) content: &'a [u8],
}

/// Finds the field `file` of a form.
pub(crate) fn file<'a>(content_type: &str, body: &'a [u8]) -> Option<FormFile<'a>> {
    let boundary = content_type
        .split(';')
        .find_map(|part| part.trim().strip_prefix("boundary="))?;
    let delimiter = format!("--{}", boundary.trim_matches('"'));
    let mut rest = &body[find(body, delimiter.as_bytes())? + delimiter.len()..];
    let end = format!("\r\n{delimiter}");
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let head_length = find(part, b"\r\n\r\n")?;
        let content = &part[head_length + 4..];
        // A part that is empty ends with the line that ends its head.
        let length = if content.starts_with(delimiter.as_bytes()) {
            0
        } else {
            find(content, end.as_bytes())?
        };
        let head = String::from_utf8_lossy(&part[..head_length]);
        if let Some(name) = file_name(&head) {
            return Some(FormFile {
                name,
                content: &content[..length],
            });
        }
        rest = &content[length..];
        rest = rest
            .strip_prefix(end.as_bytes())
            .or_else(|| rest.strip_prefix(delimiter.as_bytes()))?;
    }
    None
}

fn file_name(head: &str) -> Option<String> {
    let line = head
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    if parameter(line, "name=")? != "file" {
        return None;
    }
    if let Some(encoded) = parameter(line, "filename*=") {
        let text = encoded.rsplit('\'').next().unwrap_or_default();
        return Some(percent_decode_str(text).decode_utf8_lossy().into_owned());
    }
    parameter(line, "filename=")
}

/// A parameter of a header; in quotes, a backslash escapes.
fn parameter(line: &str, name: &str) -> Option<String> {
    let start = line
        .match_indices(name)
        .find(|(at, _)| line[..*at].ends_with([' ', ';']))?
        .0
        + name.len();
    let text = &line[start..];
    let Some(quoted) = text.strip_prefix('"') else {
        return Some(text.split(';').next().unwrap_or_default().trim().to_owned());
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Some(value.replace("%22", "\"")),
            '\\' => value.extend(characters.next()),
            character => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=b1";

    #[track_caller]
    fn check(body: &str, expected: Option<(&str, &str)>) {
        let found = file(TYPE, body.as_bytes());
        let found = found.map(|file| (file.name, String::from_utf8_lossy(file.content).into_owned()));
        assert_eq!(
            found,
            expected.map(|(name, content)| (name.to_owned(), content.to_owned()))
        );
    }

    #[test]
    fn the_field_file_is_found() {
        let head = "Content-Disposition: form-data; name=\"file\"; filename=\"a b'c.txt\"";
        check(
            &format!("--b1\r\n{head}\r\n\r\nx\r\ny\r\n--b1--\r\n"),
            Some(("a b'c.txt", "x\r\ny")),
        );
        check(
            &format!("--b1\r\n{head}\r\n\r\n\r\n--b1--\r\n"),
            Some(("a b'c.txt", "")),
        );
        let other = "Content-Disposition: form-data; name=\"other\"";
        check(
            &format!("--b1\r\n{other}\r\n\r\nx\r\n--b1\r\n{head}\r\n\r\nz\r\n--b1--\r\n"),
            Some(("a b'c.txt", "z")),
        );
        check(&format!("--b1\r\n{other}\r\n\r\nx\r\n--b1--\r\n"), None);
        check("nonsense", None);
    }

    proptest! {
        #[test]
        fn any_content_comes_through(content: Vec<u8>) {
            let mut body = b"--b1\r\ncontent-disposition: form-data; name=\"file\"; filename=f\r\n\r\n".to_vec();
            prop_assume!(find(&content, b"--b1").is_none());
            body.extend_from_slice(&content);
            body.extend_from_slice(b"\r\n--b1--\r\n");
            let found = file(TYPE, &body).map(|file| (file.name, file.content.to_vec()));
            prop_assert_eq!(found, Some(("f".to_owned(), content)));
        }

        #[test]
        fn no_body_panics_the_reader(body: Vec<u8>) {
            let _ = file(TYPE, &body);
        }
    }
}
