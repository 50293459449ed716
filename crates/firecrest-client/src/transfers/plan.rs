//! How a file is cut into parts: pure.

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The number, from 1.
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Parts of at most `part_size` bytes, in order. An empty file has none; nor has any file in parts of zero.
pub(super) fn parts(size: u64, part_size: u64) -> impl Iterator<Item = Part> + Clone {
    let count = if part_size == 0 {
        0
    } else {
        size.div_ceil(part_size)
    };
    (0..count).map(move |index| {
        let offset = index * part_size;
        Part {
            number: index + 1,
            offset,
            length: part_size.min(size - offset),
        }
    })
}

/// The size of the parts of an upload by the server's plan.
pub(super) fn part_size(size: u64, urls: usize, largest: Option<u64>) -> Result<u64, String> {
    let part_size = match largest {
        Some(largest) => largest,
        None if urls > 0 => size.div_ceil(urls as u64),
        None => 0,
    };
    let needed = if part_size == 0 {
        0
    } else {
        size.div_ceil(part_size)
    };
    if needed == urls as u64 && needed > 0 {
        Ok(part_size)
    } else {
        Err(format!(
            "it has {urls} URLs for {size} bytes in parts of {part_size}"
        ))
    }
}

/// The message that completes an upload; the tags of the parts are in order.
pub(super) fn complete_message(tags: &[String]) -> String {
    let parts: Vec<String> = tags
        .iter()
        .enumerate()
        .map(|(index, tag)| {
            format!(
                "<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>",
                index + 1,
                escape(tag)
            )
        })
        .collect();
    format!(
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{}</CompleteMultipartUpload>",
        parts.concat()
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Code and message of the storage's error. Its other fields may repeat keys and signatures.
pub(super) fn storage_message(text: &str) -> String {
    let field = |name: &str| {
        let (_, after) = text.split_once(&format!("<{name}>"))?;
        let (value, _) = after.split_once(&format!("</{name}>"))?;
        Some(value.trim().chars().take(200).collect::<String>())
    };
    match (field("Code"), field("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) => String::new(),
    }
}

/// Where a partial answer begins, by its `Content-Range`.
pub(super) fn range_start(header: &str) -> Option<u64> {
    let (start, _) = header
        .trim()
        .strip_prefix("bytes")?
        .trim_start()
        .split_once('-')?;
    start.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plans_are_checked() {
        let check = |size, urls, largest, expected: Result<u64, &str>| {
            assert_eq!(part_size(size, urls, largest), expected.map_err(str::to_owned));
        };
        check(20_983_865, 3, Some(8_388_608), Ok(8_388_608));
        check(1000, 1, Some(8_388_608), Ok(8_388_608));
        check(1000, 2, None, Ok(500));
        check(
            1000,
            2,
            Some(1000),
            Err("it has 2 URLs for 1000 bytes in parts of 1000"),
        );
        check(1000, 0, None, Err("it has 0 URLs for 1000 bytes in parts of 0"));
        check(
            1000,
            1,
            Some(0),
            Err("it has 1 URLs for 1000 bytes in parts of 0"),
        );
        check(0, 0, Some(10), Err("it has 0 URLs for 0 bytes in parts of 10"));
    }

    #[test]
    fn errors_of_the_storage_are_read() {
        let check = |body: &str, expected: &str| assert_eq!(storage_message(body), expected);
        check(
            "<?xml?><Error><Code>SignatureDoesNotMatch</Code><Message>No.</Message><SignatureProvided>abc\
             </SignatureProvided></Error>",
            "SignatureDoesNotMatch: No.",
        );
        check("<html>no</html>", "");
    }

    #[test]
    fn ranges_are_read() {
        let check =
            |header: &str, expected: Option<u64>| assert_eq!(range_start(header), expected, "{header}");
        check("bytes 0-99/20983865", Some(0));
        check("bytes 100-199/*", Some(100));
        check("bytes */100", None);
        check("lines 1-2/3", None);
    }

    proptest! {
        #[test]
        fn parts_cover_the_file(size in 0u64..10_000, part_size in 1u64..3000) {
            let mut end = 0;
            for (index, part) in parts(size, part_size).enumerate() {
                prop_assert_eq!(part.number, index as u64 + 1);
                prop_assert_eq!(part.offset, end);
                prop_assert!(part.length > 0 && part.length <= part_size);
                end += part.length;
            }
            prop_assert_eq!(end, size);
        }

        #[test]
        fn any_answer_is_taken(body in "\\PC{0,300}", header in "\\PC{0,40}") {
            let _ = storage_message(&body);
            let _ = range_start(&header);
        }
    }
}
