//! The settings that both `defaults` and an experiment carry.

use std::time::Duration;

use gipfel_model::{ApiEndpoint, Rates, RequestForm, SearchSpec, WorkloadSpec, run_config::LevelSchedule};

use crate::{
    arrivals::ArrivalSettings, cluster::ClusterSettings, dataset::DatasetSettings, durations::DurationKey,
    fault::Place, field::Field, file::Form, objectives::Objectives, rates::RateSettings, reading::Reading,
    search::SearchSettings, section::Section, timeouts::TimeoutSettings, tree::Position,
};

const WARMUP: DurationKey = DurationKey {
    name: "warmup_duration",
    seconds: "warmup_duration_s",
    may_be_zero: true,
};
const MEASUREMENT: DurationKey = DurationKey {
    name: "measurement_duration",
    seconds: "measurement_duration_s",
    may_be_zero: false,
};
const TOTAL_TIME: DurationKey = DurationKey {
    name: "total_time",
    seconds: "total_time_s",
    may_be_zero: false,
};

/// More repeats tell nothing new of the spread, and each takes a server of its own.
pub(crate) const MOST_REPEATS: u64 = 20;

const DEFAULT_WARMUP: Duration = Duration::from_secs(30);
const DEFAULT_MEASUREMENT: Duration = Duration::from_mins(1);

/// What one level of the file says; what it leaves open is absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    rates: Option<RateSettings>,
    all_levels: Option<bool>,
    exact_windows: Option<bool>,
    warmup: Option<Duration>,
    measurement: Option<Duration>,
    total_time: Option<Duration>,
    arrivals: ArrivalSettings,
    requests_per_level: Option<(u32, Place)>,
    warmup_ramp: Option<(bool, Place)>,
    endpoint: Option<ApiEndpoint>,
    stream: Option<bool>,
    seed: Option<u64>,
    repeats: Option<u32>,
    pub(crate) workers: Option<u32>,
    pub(crate) objectives: Objectives,
    pub(crate) dataset: DatasetSettings,
    pub(crate) timeouts: TimeoutSettings,
    pub(crate) cluster: ClusterSettings,
}

impl Settings {
    /// Takes the keys of all settings.
    pub(crate) fn take(section: &mut Section<'_>) -> Self {
        let settings = Self {
            rates: RateSettings::take(section),
            all_levels: section.take("all_levels").as_flag(),
            exact_windows: section.take("exact_windows").as_flag(),
            warmup: WARMUP.take(section),
            measurement: MEASUREMENT.take(section),
            total_time: TOTAL_TIME.take(section),
            objectives: Objectives::take(section),
            dataset: DatasetSettings::take(section),
            arrivals: ArrivalSettings::take(section),
            requests_per_level: placed(section.take("requests_per_level"), Field::as_count),
            warmup_ramp: placed(section.take("warmup_ramp"), Field::as_flag),
            endpoint: section
                .take("endpoint")
                .as_choice(ApiEndpoint::ALL, ApiEndpoint::as_str),
            stream: section.take("stream").as_flag(),
            seed: section.take("seed").as_whole(0..=u64::MAX),
            repeats: section
                .take("repeats")
                .as_whole(1..=MOST_REPEATS)
                .map(|repeats| repeats as u32),
            workers: section.take("workers").as_count(),
            timeouts: TimeoutSettings::take(section),
            cluster: ClusterSettings::take(section),
        };
        let dataset = settings.dataset.clone();
        settings.with_dataset(dataset, section)
    }

    /// Puts a data set in place, whose seed must not stand beside the settings' own.
    pub(crate) fn with_dataset(self, dataset: DatasetSettings, section: &Section<'_>) -> Self {
        if self.seed.is_some() && dataset.seed.is_some() {
            section.reading.fault(
                section.place_of_key("seed"),
                "given beside the `seed` of `dataset`; there is one seed",
            );
        }
        Self { dataset, ..self }
    }

    /// Fills what is left open.
    pub(crate) fn or(self, defaults: &Self) -> Self {
        // An experiment's seed, in whichever of its two places, goes before one of the defaults.
        let seed = self.seed.or(self.dataset.seed);
        Self {
            rates: RateSettings::or(self.rates, defaults.rates.as_ref()),
            all_levels: self.all_levels.or(defaults.all_levels),
            exact_windows: self.exact_windows.or(defaults.exact_windows),
            warmup: self.warmup.or(defaults.warmup),
            measurement: self.measurement.or(defaults.measurement),
            total_time: self.total_time.or(defaults.total_time),
            arrivals: self.arrivals.or(&defaults.arrivals),
            requests_per_level: self
                .requests_per_level
                .or_else(|| defaults.requests_per_level.clone()),
            warmup_ramp: self.warmup_ramp.or_else(|| defaults.warmup_ramp.clone()),
            endpoint: self.endpoint.or(defaults.endpoint),
            stream: self.stream.or(defaults.stream),
            seed: seed.or(defaults.seed).or(defaults.dataset.seed),
            repeats: self.repeats.or(defaults.repeats),
            workers: self.workers.or(defaults.workers),
            objectives: self.objectives.or(&defaults.objectives),
            dataset: self.dataset.or(&defaults.dataset),
            timeouts: self.timeouts.or(&defaults.timeouts),
            cluster: self.cluster.or(&defaults.cluster),
        }
    }

    pub(crate) fn workload(&self) -> WorkloadSpec {
        WorkloadSpec {
            prompts: self.dataset.prompts(self.cluster.hf_home()),
            arrivals: self.arrivals.process(),
            input_length: self.dataset.input_length(),
            output_length: self.dataset.output_length(),
            seed: self.seed.unwrap_or(0),
            requests: self.requests(),
        }
    }

    fn requests(&self) -> RequestForm {
        let default = RequestForm::default();
        RequestForm {
            endpoint: self.endpoint.unwrap_or(default.endpoint),
            stream: self.stream.unwrap_or(default.stream),
        }
    }

    /// How often the experiment is run, each time against a fresh server.
    pub(crate) fn repeats(&self) -> u32 {
        self.repeats.unwrap_or(1)
    }

    pub(crate) fn schedule(&self, section: &Section<'_>) -> LevelSchedule {
        match &self.rates {
            Some(RateSettings::Fixed(rates)) => self.levels(rates.clone(), section),
            Some(RateSettings::Search(search)) => {
                self.search(search.resolve(section, self.total_time), section)
            }
            None => self.search(
                SearchSettings::default().resolve(section, self.total_time),
                section,
            ),
        }
    }

    /// `all_levels` speaks of listed ones: doubling rates would have no end.
    fn levels(&self, rates: Rates, section: &Section<'_>) -> LevelSchedule {
        let listed = matches!(rates, Rates::Listed(_));
        let all_levels = self.all_levels.unwrap_or(false);
        if all_levels && !listed {
            section.reading.warn(
                &section.place_of_key("all_levels"),
                "has no effect without `rate_levels`: doubling rates end after two rejected ones",
            );
        }
        LevelSchedule {
            rates,
            warmup: self.warmup.unwrap_or(DEFAULT_WARMUP),
            measured: self.measurement.unwrap_or(DEFAULT_MEASUREMENT),
            requests_per_level: self.requests_per_level.as_ref().map(|(count, _)| *count),
            warmup_ramp: self.warmup_ramp.as_ref().is_some_and(|(ramp, _)| *ramp),
            exact_windows: self.exact_windows.unwrap_or(false),
            all_levels: all_levels && listed,
            total_time: self.total_time,
        }
    }

    /// A search sets its own windows and has its own budget.
    fn search(&self, search: SearchSpec, section: &Section<'_>) -> LevelSchedule {
        let given = [
            (WARMUP.name, WARMUP.seconds, self.warmup.is_some()),
            (MEASUREMENT.name, MEASUREMENT.seconds, self.measurement.is_some()),
            ("all_levels", "", self.all_levels == Some(true)),
            ("exact_windows", "", self.exact_windows == Some(true)),
            ("requests_per_level", "", self.requests_per_level.is_some()),
            (
                "warmup_ramp",
                "",
                self.warmup_ramp.as_ref().is_some_and(|(ramp, _)| *ramp),
            ),
        ];
        for (key, seconds, _) in given.into_iter().filter(|(_, _, is_given)| *is_given) {
            let key = if section.has(seconds) { seconds } else { key };
            section.reading.warn(
                &section.place_of_key(key),
                "has no effect on a search, which chooses its own rates and windows; it is for listed rates",
            );
        }
        LevelSchedule {
            rates: Rates::Search(search),
            warmup: DEFAULT_WARMUP,
            measured: DEFAULT_MEASUREMENT,
            requests_per_level: None,
            warmup_ramp: false,
            exact_windows: false,
            all_levels: false,
            total_time: None,
        }
    }
}

/// A key's value with its place.
fn placed<'a, T>(field: Field<'a>, read: impl Fn(&Field<'a>) -> Option<T>) -> Option<(T, Place)> {
    read(&field).map(|value| (value, field.place()))
}

/// The keys of all settings, as their readers ask for them.
pub(crate) fn keys() -> Vec<&'static str> {
    let reading = Reading::new("", Form::Yaml);
    let mut section = Section::new(&reading, String::new(), Position::START, &[]);
    Settings::take(&mut section);
    section.known().to_vec()
}
