use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{Event, Limits, samples};

fn campaign(id: &str) -> Campaign {
    let mut campaign = samples::campaign(vec![samples::experiment("m", samples::local())], false);
    campaign.campaign_id = id.parse().unwrap();
    campaign
}

/// The error in words, its causes included, with the directory's name taken out.
fn words(error: &JournalError, directory: &TempDir) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.replace(&directory.path().display().to_string(), "DIR")
}

fn check_load(change: impl Fn(String) -> String, expected: &str) {
    let directory = TempDir::new().unwrap();
    let campaign = campaign("c-1");
    drop(Journal::create(directory.path(), &campaign).unwrap());
    let path = directory.path().join("c-1").join("state.json");
    fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    let error = Journal::load(directory.path(), &campaign.campaign_id).unwrap_err();
    assert_eq!(words(&error, &directory), expected);
}

#[test]
fn what_is_written_is_read_again() {
    let directory = TempDir::new().unwrap();
    let mut campaign = campaign("c-1");
    let journal = Journal::create(directory.path(), &campaign).unwrap();
    campaign.step(Event::Start, 5, &Limits::default());
    journal.write(&campaign).unwrap();
    drop(journal);
    let (journal, read) = Journal::open(directory.path(), &campaign.campaign_id).unwrap();
    assert_eq!(read, campaign);
    let mut files: Vec<_> = fs::read_dir(journal.directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["state.json", "state.lock"]);
}

#[test]
fn only_one_process_drives_a_campaign() {
    let directory = TempDir::new().unwrap();
    let campaign = campaign("c-1");
    let held = Journal::create(directory.path(), &campaign).unwrap();
    let error = Journal::open(directory.path(), &campaign.campaign_id).unwrap_err();
    let pid = std::process::id();
    assert_eq!(
        error.to_string(),
        format!("campaign `c-1` is driven by another gipfel (process {pid}): wait for it or end it first")
    );
    drop(held);
    Journal::open(directory.path(), &campaign.campaign_id).unwrap();
}

#[test]
fn a_campaign_is_begun_once() {
    let directory = TempDir::new().unwrap();
    drop(Journal::create(directory.path(), &campaign("c-1")).unwrap());
    let error = Journal::create(directory.path(), &campaign("c-1")).unwrap_err();
    assert!(matches!(error, JournalError::Exists { .. }), "{error}");
}

#[test]
fn a_half_written_state_does_not_count() {
    let directory = TempDir::new().unwrap();
    let campaign = campaign("c-1");
    let journal = Journal::create(directory.path(), &campaign).unwrap();
    fs::write(journal.directory().join("state.json.new"), "{\"header\":").unwrap();
    assert_eq!(
        Journal::load(directory.path(), &campaign.campaign_id).unwrap(),
        campaign
    );
    journal.write(&campaign).unwrap();
}

#[test]
fn other_versions_and_damage_are_refused_with_a_reason() {
    check_load(
        |text| text.replace("\"major\": 1", "\"major\": 2"),
        "cannot read `DIR/c-1/state.json`: the file has gipfel-state version 2.2, written by a newer gipfel; \
         this gipfel is older and reads up to 1.2",
    );
    check_load(
        |text| text.replace("\"interrupted\"", "\"disrupted\""),
        "`DIR/c-1/state.json` is damaged: unknown field `disrupted`, expected one of `header`, `campaign_id`, \
         `created_at`, `gipfel_version`, `config_digest`, `max_parallel`, `load_generator`, `interrupted`, `results_merged`, `deployments` at line 12 \
         column 13",
    );
    check_load(
        |text| text[..10].to_owned(),
        "`DIR/c-1/state.json` is damaged: EOF while parsing a string at line 2 column 8",
    );
}

#[test]
fn a_campaign_that_is_not_there_is_named() {
    let directory = TempDir::new().unwrap();
    let error = Journal::open(directory.path(), &"c-1".parse().unwrap()).unwrap_err();
    assert_eq!(
        words(&error, &directory),
        "there is no campaign `c-1` under `DIR`"
    );
}

#[test]
fn the_latest_unfinished_campaign_is_found() {
    let directory = TempDir::new().unwrap();
    let check = |expected: Option<&str>| {
        let found = Journal::latest_unfinished(directory.path()).unwrap();
        assert_eq!(found.as_ref().map(CampaignId::as_str), expected);
    };
    check(None);
    for id in ["c-20261121-100000_0001", "c-20261121-110000_0001"] {
        drop(Journal::create(directory.path(), &campaign(id)).unwrap());
    }
    fs::create_dir(directory.path().join("c-30261121-110000_0001")).unwrap();
    fs::write(directory.path().join("results.db"), "").unwrap();
    check(Some("c-20261121-110000_0001"));
    let mut finished = campaign("c-20261121-120000_0001");
    finished.deployments.clear();
    drop(Journal::create(directory.path(), &finished).unwrap());
    check(Some("c-20261121-110000_0001"));
}

#[test]
fn a_server_is_found_by_its_name_or_a_runs() {
    let directory = TempDir::new().unwrap();
    let mut campaign = campaign("c-1");
    let journal = Journal::create(directory.path(), &campaign).unwrap();
    let find = |name| Journal::find_server(directory.path(), name);
    let gone = find("r-1").unwrap_err();
    assert_eq!(
        gone.to_string(),
        "the server `d-1` is pending: only one that is ready or kept can be used"
    );
    let handle = Handle {
        system: "local".to_owned(),
        name: "d-1".to_owned(),
        detail: "7".to_owned(),
    };
    campaign.deployments[0].phase = DeploymentPhase::Kept {
        handle: handle.clone(),
        endpoint: gipfel_model::EndpointSpec::new("http://h"),
    };
    journal.write(&campaign).unwrap();
    for name in ["r-1", "d-1"] {
        assert_eq!(find(name).unwrap().handle, handle);
    }
    let unknown = find("r-2").unwrap_err();
    assert_eq!(
        words(&unknown, &directory),
        "no campaign under `DIR` has a deployment or run `r-2`"
    );
}
