//! Names that tell of a secret.

/// Parts of a name that tell of a secret.
const WORDS: &[&str] = &[
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "APIKEY",
    "CREDENTIALS",
];

/// Last parts of a name that stands for something about a secret, not for the secret.
const ABOUT: &[&str] = &[
    "PATH",
    "FILE",
    "DIR",
    "DIRECTORY",
    "NAME",
    "ENV",
    "TIMEOUT",
    "LIMIT",
    "COUNT",
];

/// Whether the value of a variable of this name is probably a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_uppercase().replace(['-', '.'], "_");
    let mut parts = name
        .split('_')
        .map(|part| part.trim_end_matches(|c: char| c.is_ascii_digit()));
    let is_about = parts
        .clone()
        .next_back()
        .is_some_and(|last| ABOUT.contains(&last));
    let tells = |part: &str| part == "KEY" || WORDS.iter().any(|word| part.ends_with(word));
    !is_about && parts.any(tells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_of_secrets() {
        let check = |name, expected| assert_eq!(is_secret(name), expected, "{name}");
        check("HF_TOKEN", true);
        check("hf_token", true);
        check("OPENAI_API_KEY", true);
        check("OPENAI_API_KEY_2", true);
        check("OPENAI_KEY_PRODUCTION", true);
        check("AWS_SECRET_ACCESS_KEY", true);
        check("DB_PASSWORD", true);
        check("MYTOKEN", true);
        check("HF_TOKEN_PATH", false);
        check("TOKENIZER", false);
        check("FIRST_TOKEN_TIMEOUT", false);
        check("MONKEY", false);
        check("SCRATCH", false);
        check("", false);
    }
}
