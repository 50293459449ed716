//! `gipfel data …`: the known data sets, and their download.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use gipfel_loadgen::dataset::{hf_home, known_path};
use gipfel_model::DataSetForm;

use crate::{
    cli::{DataName, FetchArguments},
    download::{self, Download},
    exit::Exit,
    failure::Failure,
    print,
};

const HUB: &str = "https://huggingface.co";

/// A data set that gipfel knows where to find.
struct Known {
    name: DataName,
    form: DataSetForm,
    what: &'static str,
    /// Below the hub's address, or an address of its own.
    at: &'static str,
    sha256: Option<&'static str>,
}

const KNOWN: &[Known] = &[
    Known {
        name: DataName::Sharegpt,
        form: DataSetForm::Sharegpt,
        what: "conversations with ChatGPT, 673 MB",
        at: "datasets/anon8231489123/ShareGPT_Vicuna_unfiltered/resolve/192ab2185289094fc556ec8ce5ce1e8e587154ca/ShareGPT_V3_unfiltered_cleaned_split.json",
        sha256: Some("35f0e213ce091ed9b9af2a1f0755e9d39f9ccec34ab281cd4ca60d70f6479ba4"),
    },
    Known {
        name: DataName::Codealpaca,
        form: DataSetForm::Codealpaca,
        what: "20,000 tasks of programming",
        at: "datasets/sahil2801/CodeAlpaca-20k/resolve/main/code_alpaca_20k.json",
        sha256: None,
    },
    Known {
        name: DataName::Sonnet,
        form: DataSetForm::Sonnet,
        what: "lines of Shakespeare's sonnets",
        at: "https://raw.githubusercontent.com/vllm-project/vllm/v0.13.0/benchmarks/sonnet.txt",
        sha256: None,
    },
];

impl Known {
    fn path(&self, home: &Path) -> PathBuf {
        known_path(self.form, home).unwrap_or_default()
    }

    /// Where it is downloaded from; `HF_ENDPOINT` names another hub.
    fn address(&self, hub: &str) -> String {
        if self.at.contains("://") {
            self.at.to_owned()
        } else {
            format!("{}/{}", hub.trim_end_matches('/'), self.at)
        }
    }
}

/// `gipfel data fetch`.
pub(crate) fn fetch(arguments: &FetchArguments) -> Result<Exit, Failure> {
    if arguments.url.is_some() && arguments.names.len() > 1 {
        return Err(Failure::usage(anyhow!(
            "--url is the address of one data set, and several are asked for"
        )));
    }
    let home = hf_home(arguments.hf_home.as_deref());
    let hub = std::env::var("HF_ENDPOINT").unwrap_or_default();
    let hub = if hub.is_empty() { HUB } else { &hub };
    for address in arguments.url.iter().map(String::as_str).chain([hub]) {
        if !address.starts_with("http://") && !address.starts_with("https://") {
            let error = anyhow!("`{address}` is no URL to download from");
            return Err(Failure::usage(error)
                .hint("HF_ENDPOINT and --url begin with `http://` or `https://`; unset, HF_ENDPOINT is the hub's own"));
        }
    }
    let mut failed = None;
    let named = arguments.names.iter();
    for known in named.filter_map(|name| KNOWN.iter().find(|known| known.name == *name)) {
        let path = known.path(&home);
        if path.is_file() && !arguments.force {
            print(&format!("{} is here already: {}\n", known.name, path.display()))?;
            continue;
        }
        let download = Download {
            name: known.name.to_string(),
            address: arguments.url.clone().unwrap_or_else(|| known.address(hub)),
            path: path.clone(),
            // An address of the user's own may hold another version.
            sha256: known
                .sha256
                .filter(|_| arguments.url.is_none())
                .map(str::to_owned),
        };
        let done = match super::results::runtime()?.block_on(download::run(&download)) {
            Ok(done) => done,
            Err(failure) => {
                // The others are fetched all the same; the first failure is told at the end.
                failed.get_or_insert(failure);
                continue;
            }
        };
        print(&format!(
            "{}: {} in {}, sha256 {}\n",
            known.name,
            size_words(done.bytes),
            path.display(),
            done.sha256
        ))?;
    }
    failed.map_or(Ok(Exit::Done), Err)
}

/// `gipfel data list`.
pub(crate) fn list(given: Option<&Path>) -> Result<Exit, Failure> {
    let home = hf_home(given);
    let mut text = format!("data sets in {}:\n", home.join("gipfel").display());
    for known in KNOWN {
        let path = known.path(&home);
        let state = match fs::metadata(&path) {
            Ok(found) => format!("here, {}, {}", size_words(found.len()), recorded(&path)),
            Err(_) => format!("not here; `gipfel data fetch {}` downloads it", known.name),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<11} {}: {state}", known.name.to_string(), known.what);
    }
    print(&text)?;
    Ok(Exit::Done)
}

fn recorded(path: &Path) -> String {
    let text = fs::read_to_string(download::digest_path(path)).unwrap_or_default();
    match text.split_whitespace().next() {
        Some(digest) => format!("sha256 {digest}"),
        None => "no sha256 recorded".to_owned(),
    }
}

/// A number of bytes in decimal units.
pub(crate) fn size_words(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let check = |bytes, expected| assert_eq!(size_words(bytes), expected);
        check(12, "12 B");
        check(1_234, "1.2 kB");
        check(672_837_942, "672.8 MB");
        check(2_500_000_000, "2.50 GB");
    }

    #[test]
    fn each_known_set_has_its_place() {
        for known in KNOWN {
            let path = known.path(Path::new("/home"));
            let file = path.file_name().expect("a name").to_string_lossy().into_owned();
            assert!(known.address("https://hub.example/").ends_with(&file), "{file}");
            assert_eq!(known.name.to_string(), known.form.as_str());
        }
        let address = KNOWN[0].address("https://hub.example/");
        assert!(address.starts_with("https://hub.example/datasets/"), "{address}");
    }
}
