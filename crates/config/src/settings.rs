//! The settings that both `defaults` and an experiment carry.

use std::time::Duration;

use gipfel_model::{ArrivalProcess, Rates, WorkloadSpec, run_config::LevelSchedule};

use crate::{
    cluster::ClusterSettings,
    dataset::DatasetSettings,
    durations::DurationKey,
    objectives::Objectives,
    rates::{default_rates, take_rates},
    reading::Reading,
    section::Section,
    timeouts::TimeoutSettings,
    tree::Position,
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

const DEFAULT_WARMUP: Duration = Duration::from_secs(30);
const DEFAULT_MEASUREMENT: Duration = Duration::from_mins(1);

/// What one level of the file says; what it leaves open is absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    rates: Option<Rates>,
    all_levels: Option<bool>,
    warmup: Option<Duration>,
    measurement: Option<Duration>,
    total_time: Option<Duration>,
    arrivals: Option<ArrivalProcess>,
    seed: Option<u64>,
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
            rates: take_rates(section),
            all_levels: section.take("all_levels").as_flag(),
            warmup: WARMUP.take(section),
            measurement: MEASUREMENT.take(section),
            total_time: TOTAL_TIME.take(section),
            objectives: Objectives::take(section),
            dataset: DatasetSettings::take(section),
            arrivals: section
                .take("arrivals")
                .as_choice(ArrivalProcess::ALL, ArrivalProcess::as_str),
            seed: section.take("seed").as_whole(0..=u64::MAX),
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
            rates: self.rates.or_else(|| defaults.rates.clone()),
            all_levels: self.all_levels.or(defaults.all_levels),
            warmup: self.warmup.or(defaults.warmup),
            measurement: self.measurement.or(defaults.measurement),
            total_time: self.total_time.or(defaults.total_time),
            arrivals: self.arrivals.or(defaults.arrivals),
            seed: seed.or(defaults.seed).or(defaults.dataset.seed),
            workers: self.workers.or(defaults.workers),
            objectives: self.objectives.or(&defaults.objectives),
            dataset: self.dataset.or(&defaults.dataset),
            timeouts: self.timeouts.or(&defaults.timeouts),
            cluster: self.cluster.or(&defaults.cluster),
        }
    }

    pub(crate) fn workload(&self) -> WorkloadSpec {
        WorkloadSpec {
            arrivals: self.arrivals.unwrap_or(ArrivalProcess::Poisson),
            input_length: self.dataset.input_length(),
            output_length: self.dataset.output_length(),
            seed: self.seed.unwrap_or(0),
        }
    }

    /// `all_levels` speaks of listed ones: doubling rates would have no end.
    pub(crate) fn schedule(&self, section: &Section<'_>) -> LevelSchedule {
        let rates = self.rates.clone().unwrap_or_else(default_rates);
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
            exact_windows: false,
            all_levels: all_levels && listed,
            total_time: self.total_time,
        }
    }
}

/// The keys of all settings, as their readers ask for them.
pub(crate) fn keys() -> Vec<&'static str> {
    let reading = Reading::new("");
    let mut section = Section::new(&reading, String::new(), Position::START, &[]);
    Settings::take(&mut section);
    section.known().to_vec()
}
