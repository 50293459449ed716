//! The command line.

mod clusters;
mod results;
mod values;

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use gipfel_experiment::Retry;
use gipfel_model::{ApiEndpoint, ArrivalRate, BackendKind, Slo};

use crate::bundles::Architecture;
pub use clusters::{
    CleanArguments, ClusterArguments, ConnectArguments, DoctorCommand, DoctorK8sArguments,
    DoctorSlurmArguments, DoctorTarget, PsArguments,
};
pub use results::{
    CompareArguments, ExportArguments, ExportFormat, ExportTable, ListArguments, ReportArguments,
    ResultsCommand,
};
pub use values::BaseUrl;
use values::{parse_precision, parse_slo, parse_total_time};

/// Finds the highest request rate that an LLM inference deployment sustains within its latency objectives.
#[derive(Debug, Parser)]
#[command(name = "gipfel", version = crate::VERSION, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the experiments of a configuration file.
    Run(RunArguments),
    /// Write a commented configuration file; asks what it must know.
    New(NewArguments),
    /// Find the peak rate of a server that runs already; no file needed.
    Peak(PeakArguments),
    /// Go on with an unfinished campaign.
    Resume(ResumeArguments),
    /// Say where a campaign stands and what of it lives.
    Status(StatusArguments),
    /// Show a campaign that another gipfel drives, until it ends.
    Attach(AttachArguments),
    /// End a campaign and keep what was measured.
    Cancel(CancelArguments),
    /// Say what of ours lives on clusters, whoever started it, and what lives here.
    Ps(PsArguments),
    /// End what of ours lives on clusters, and remove what it has left there.
    Clean(CleanArguments),
    /// Open a tunnel to a server on a cluster, or print the way to it.
    Connect(ConnectArguments),
    /// Print what servers and load generators have printed.
    Logs(LogsArguments),
    /// List the campaigns of a results directory.
    List(ListArguments),
    /// Merge and summarise result databases.
    #[command(subcommand)]
    Results(ResultsCommand),
    /// Look at a configuration file.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Download and list the data sets that prompts can come from.
    #[command(subcommand)]
    Data(DataCommand),
    /// Find out whether a cluster can be used, before anything is started on it.
    #[command(subcommand)]
    Doctor(DoctorCommand),
    /// Start the simulator: an OpenAI-compatible server of known capacity.
    Sim(SimArguments),
    /// Print the completions of a shell, for its configuration or for a package.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write the pages of all subcommands.
    Man {
        /// The directory that the pages are written into.
        #[arg(long, value_name = "DIRECTORY")]
        out: Option<PathBuf>,
    },
    /// The load generator: as gipfel starts it, and those that gipfel carries for clusters.
    Loadgen(LoadgenArguments),
}

/// Where results are kept unless the user says otherwise.
pub const DEFAULT_RESULTS_DIR: &str = "results";

/// Where results are and how progress is shown.
#[derive(Clone, Debug, Args)]
pub struct ShowArguments {
    /// Where campaigns, runs and the merged database are kept.
    #[arg(long, value_name = "DIRECTORY", default_value = DEFAULT_RESULTS_DIR)]
    pub results_dir: PathBuf,
    /// Print one JSON object per event and the summary as JSON.
    #[arg(long)]
    pub json: bool,
    /// Print plain progress lines, also on a terminal.
    #[arg(long)]
    pub no_live: bool,
}

/// How a campaign is driven.
#[derive(Clone, Debug, Args)]
pub struct OutputArguments {
    /// Where results go and how progress is shown.
    #[command(flatten)]
    pub show: ShowArguments,
    /// Drive on in the background: return as soon as the campaign is planned.
    #[arg(long)]
    pub detach: bool,
    /// This is the process in the background.
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub in_background: bool,
    /// The load generator to use in place of gipfel's own: a program `gipfel-loadgen` or its bundle.
    #[arg(long, value_name = "FILE")]
    pub loadgen: Option<PathBuf>,
    /// Seconds between two looks at remote jobs; processes of this machine are looked at each second.
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    pub poll_interval: f64,
}

/// Where settings come from that a configuration leaves open.
#[derive(Clone, Debug, Args)]
pub struct SiteArguments {
    /// A configuration of the site: settings that the file and what it includes leave open.
    #[arg(long, value_name = "FILE", env = "GIPFEL_SITE", hide_env_values = true)]
    pub site: Option<OsString>,
}

/// `gipfel run`.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// The configuration file.
    pub config: PathBuf,
    /// The site.
    #[command(flatten)]
    pub site: SiteArguments,
    /// Synthetic prompts, whatever the configuration says of data sets.
    #[arg(long)]
    pub synthetic: bool,
    /// Only the experiments whose model, backend or deployment holds this text, or is matched by it if it has `*` or `?`;
    /// repeat it for several. `--dry-run` lists them.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// Write what would be started, and start nothing.
    #[arg(long, conflicts_with = "detach")]
    pub dry_run: bool,
    /// Leave the servers running at the end.
    #[arg(long)]
    pub keep_server: bool,
    /// Which failed experiments of earlier campaigns are tried again: `all`, `none`, or reasons such as
    /// `oom,timeout,server-failed`.
    #[arg(
        long,
        value_name = "REASON,…",
        default_value = "all",
        conflicts_with = "rerun"
    )]
    pub retry: Retry,
    /// Measure everything again, also what earlier campaigns of the results directory have completed.
    #[arg(long, visible_alias = "fresh")]
    pub rerun: bool,
    /// Use the server of an earlier run, the one in a Slurm job of ours, or the one at a URL, instead of starting one.
    #[arg(long, value_name = "RUN|slurm:JOB|URL")]
    pub on: Option<String>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArguments,
}

/// `gipfel new`.
#[derive(Clone, Debug, Args)]
pub struct NewArguments {
    /// The file to write.
    #[arg(default_value = "gipfel.yaml")]
    pub file: PathBuf,
    /// Ask nothing: take the defaults of all that is not given, the simulator without a server.
    #[arg(short, long)]
    pub yes: bool,
    /// Replace the file if there is one.
    #[arg(long)]
    pub force: bool,
    /// The base URL of a server that runs already; it is asked for its models.
    #[arg(long)]
    pub url: Option<BaseUrl>,
    /// The Slurm cluster on which gipfel starts the server: the name of its profile, such as `clariden`, or a file.
    #[arg(long, value_name = "CLUSTER", conflicts_with = "url")]
    pub slurm: Option<String>,
    /// The account that the cluster's jobs are charged to.
    #[arg(long, requires = "slurm")]
    pub account: Option<String>,
    /// The engine: of the server that gipfel starts, or behind the URL.
    #[arg(long, value_name = "ENGINE")]
    pub backend: Option<BackendKind>,
    /// The model.
    #[arg(long)]
    pub model: Option<String>,
    /// The environment variable that holds the API key of the server behind the URL.
    #[arg(long, value_name = "NAME", requires = "url", value_parser = gipfel_config::parse_variable)]
    pub api_key_env: Option<String>,
    /// An objective, such as `ttft p95 <= 500ms`; repeat it for several.
    #[arg(long = "slo", value_name = "OBJECTIVE", value_parser = parse_slo)]
    pub slos: Vec<Slo>,
    /// Rates to offer in place of a search, separated by commas.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "RATE,…",
        conflicts_with = "total_time"
    )]
    pub rates: Vec<ArrivalRate>,
    /// Time that the search may take.
    #[arg(long = "for", value_name = "TOTAL_TIME", value_parser = parse_total_time)]
    pub total_time: Option<Duration>,
}

/// `gipfel peak`.
#[derive(Clone, Debug, Args)]
pub struct PeakArguments {
    /// The server's base URL, such as `http://127.0.0.1:8000`.
    pub url: BaseUrl,
    /// An objective, such as `ttft p95 <= 500ms`; repeat it for several.
    #[arg(long = "slo", value_name = "OBJECTIVE", required = true)]
    pub slos: Vec<Slo>,
    /// The model's name; by default the first one of `/v1/models`.
    #[arg(long)]
    pub model: Option<String>,
    /// Rates to offer in place of a search, separated by commas; the answer is then the highest one that passes.
    #[arg(long, value_delimiter = ',', value_name = "RATE,…", conflicts_with_all = ["from", "to", "precision"])]
    pub rates: Vec<ArrivalRate>,
    /// The lowest rate that the search offers, by default 0.05 req/s; it begins at 1 req/s, or here if that is more.
    #[arg(long, value_name = "RATE")]
    pub from: Option<ArrivalRate>,
    /// The highest rate that the search offers; by default as high as it leads.
    #[arg(long, value_name = "RATE")]
    pub to: Option<ArrivalRate>,
    /// How well the peak is to be known: half the width of its 90 % interval, such as `2%` or `0.02`.
    #[arg(long, value_name = "SHARE", value_parser = parse_precision, default_value = "2%")]
    pub precision: f64,
    /// Keep the windows of listed rates as they are, however long answers take.
    #[arg(long, requires = "rates")]
    pub exact_windows: bool,
    /// Prompt tokens: a number, `normal:MEAN,STD`, `uniform:MIN,MAX` or `lognormal:MEDIAN,SIGMA`.
    #[arg(long, default_value = "512", value_name = "TOKENS")]
    pub input: crate::peak::Length,
    /// Answer tokens, in the same forms.
    #[arg(long = "output", default_value = "256", value_name = "TOKENS")]
    pub output_tokens: crate::peak::Length,
    /// What requests ask: a chat of one message, or the completion of a text.
    #[arg(long, value_name = "chat|completions", default_value_t = ApiEndpoint::Chat)]
    pub endpoint: ApiEndpoint,
    /// Ask for answers that come as a whole; objectives are then on e2e or error_rate.
    #[arg(long)]
    pub no_stream: bool,
    /// Time that the search may take: its budget, by default the longer of 15 minutes and 60 median E2E latencies. The
    /// windows of listed rates are cut to fit.
    #[arg(long = "for", value_name = "TOTAL_TIME", value_parser = parse_total_time)]
    pub total_time: Option<Duration>,
    /// The engine behind the URL; by default what `/v1/models` says of itself, else any OpenAI-compatible one.
    #[arg(long)]
    pub backend: Option<BackendKind>,
    /// The environment variable that holds the endpoint's API key.
    #[arg(long, value_name = "NAME", value_parser = gipfel_config::parse_variable)]
    pub api_key_env: Option<String>,
    /// A header of every request: `NAME: VALUE`, or `NAME=VARIABLE` for a secret that the environment holds.
    #[arg(long = "header", value_name = "HEADER")]
    pub headers: Vec<crate::peak::Header>,
    /// Certificates in PEM of authorities that are trusted beside the public ones.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The HTTP proxy on the way to the server, such as `http://proxy:3128`.
    #[arg(long, value_name = "URL", value_parser = gipfel_config::parse_proxy)]
    pub proxy: Option<String>,
    /// Speak HTTP/2.
    #[arg(long)]
    pub http2: bool,
    /// Seed of arrivals, lengths and prompts.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Print the configuration file that this command stands for, and do nothing.
    #[arg(long, conflicts_with = "detach")]
    pub print_config: bool,
    /// Output.
    #[command(flatten)]
    pub output: OutputArguments,
}

/// `gipfel resume`.
#[derive(Clone, Debug, Args)]
pub struct ResumeArguments {
    /// The campaign; by default the latest unfinished one.
    pub campaign: Option<String>,
    /// Output.
    #[command(flatten)]
    pub output: OutputArguments,
}

/// `gipfel loadgen`.
#[derive(Clone, Debug, Args)]
pub struct LoadgenArguments {
    /// A run, or a test of this machine.
    #[command(flatten)]
    pub arguments: gipfel_loadgen::Arguments,
    /// Write the program for a kind of node, `aarch64` or `x86_64`.
    #[arg(long, value_name = "ARCHITECTURE", conflicts_with_all = ["config", "directory", "rank", "of", "self_test"])]
    pub extract: Option<Architecture>,
    /// Where it is written; by default `gipfel-loadgen` in this directory.
    #[arg(long, value_name = "FILE", requires = "extract")]
    pub out: Option<PathBuf>,
    /// List the load generators that gipfel carries.
    #[arg(long, conflicts_with_all = ["config", "directory", "rank", "of", "self_test", "extract"])]
    pub list: bool,
}

/// Which campaign a command is about.
#[derive(Clone, Debug, Args)]
pub struct CampaignArguments {
    /// The campaign, or a part of its name that no other has; by default the one that is driven now, else the latest.
    pub campaign: Option<String>,
}

/// `gipfel status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArguments {
    /// Which one.
    #[command(flatten)]
    pub campaign: CampaignArguments,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the campaigns are.
    #[arg(long, value_name = "DIRECTORY", default_value = DEFAULT_RESULTS_DIR)]
    pub results_dir: PathBuf,
}

/// `gipfel attach`.
#[derive(Clone, Debug, Args)]
pub struct AttachArguments {
    /// Which one.
    #[command(flatten)]
    pub campaign: CampaignArguments,
    /// Output.
    #[command(flatten)]
    pub show: ShowArguments,
}

/// `gipfel cancel`.
#[derive(Clone, Debug, Args)]
pub struct CancelArguments {
    /// Which one.
    #[command(flatten)]
    pub campaign: CampaignArguments,
    /// Where the campaigns are.
    #[arg(long, value_name = "DIRECTORY", default_value = DEFAULT_RESULTS_DIR)]
    pub results_dir: PathBuf,
}

/// `gipfel logs`.
#[derive(Clone, Debug, Args)]
pub struct LogsArguments {
    /// A campaign, a run or a server, or a part of its name that no other has; by default the campaign that is driven
    /// now, else the latest.
    pub name: Option<String>,
    /// Only what servers printed.
    #[arg(long, conflicts_with_all = ["load", "all"])]
    pub server: bool,
    /// Only what load generators printed.
    #[arg(long, conflicts_with = "all")]
    pub load: bool,
    /// Both, and what a detached gipfel printed; the default.
    #[arg(long)]
    pub all: bool,
    /// Go on with what is printed from now on, until the campaign ends.
    #[arg(short, long)]
    pub follow: bool,
    /// So many lines of the end of each log.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    pub lines: usize,
    /// Where the campaigns are.
    #[arg(long, value_name = "DIRECTORY", default_value = DEFAULT_RESULTS_DIR)]
    pub results_dir: PathBuf,
}

/// `gipfel config …`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file and say what it stands for.
    Check {
        /// The configuration file.
        file: PathBuf,
        /// The site.
        #[command(flatten)]
        site: SiteArguments,
    },
    /// Print the plan of a configuration file: every value that a run has, and where it comes from.
    Show {
        /// The configuration file.
        file: PathBuf,
        /// The site.
        #[command(flatten)]
        site: SiteArguments,
        /// Print JSON, with an entry for each run.
        #[arg(long)]
        json: bool,
    },
    /// Print every key of configuration files, with its type, its default and its meaning, in Markdown.
    Reference,
    /// Print the JSON Schema of configuration files, with which editors complete and check them.
    Schema,
}

/// `gipfel data …`.
#[derive(Clone, Debug, Subcommand)]
pub enum DataCommand {
    /// Download data sets, through the proxy that the environment names, and record their sha256.
    Fetch(FetchArguments),
    /// Say which data sets are here.
    List {
        /// The folder of Hugging Face's files; by default `HF_HOME`, or `~/.cache/huggingface`.
        #[arg(long, value_name = "DIRECTORY")]
        hf_home: Option<PathBuf>,
    },
}

/// `gipfel data fetch`.
#[derive(Clone, Debug, Args)]
pub struct FetchArguments {
    /// The data sets.
    #[arg(required = true, value_enum, value_name = "NAME")]
    pub names: Vec<DataName>,
    /// The folder of Hugging Face's files; by default `HF_HOME`, or `~/.cache/huggingface`.
    #[arg(long, value_name = "DIRECTORY")]
    pub hf_home: Option<PathBuf>,
    /// Download from here instead; the sha256 is then recorded and not checked. `HF_ENDPOINT` names another hub.
    #[arg(long)]
    pub url: Option<String>,
    /// Download again what is here already.
    #[arg(long)]
    pub force: bool,
}

/// The data sets that gipfel knows where to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DataName {
    /// ShareGPT's conversations.
    Sharegpt,
    /// CodeAlpaca's tasks of programming.
    Codealpaca,
    /// Lines of Shakespeare's sonnets.
    Sonnet,
}

impl fmt::Display for DataName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sharegpt => "sharegpt",
            Self::Codealpaca => "codealpaca",
            Self::Sonnet => "sonnet",
        })
    }
}

/// `gipfel sim`.
#[derive(Clone, Debug, Args)]
pub struct SimArguments {
    /// The server to simulate, of the file or of the built-in ones; by default the only one of the file, or `quickstart`.
    #[arg(long)]
    pub profile: Option<String>,
    /// A TOML file of `[[server]]` profiles.
    #[arg(long, value_name = "FILE")]
    pub profiles: Option<PathBuf>,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// The port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Seed of the step noise.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The model's name in `/v1/models`; by default the profile's.
    #[arg(long)]
    pub model: Option<String>,
    /// What goes wrong by choice, drawn by the seed; repeat it for several.
    ///
    /// errors=3%: so many requests are answered with status 500.
    /// cut=1%: so many streams are cut in their middle.
    /// short=50%: so many answers end at half their length.
    /// prefix-cache=60%: so much of each prompt is cached already.
    /// stall=2s/every=30s: the engine stands still so long, so often.
    /// slower=0.7@5min: the server has this share of its capacity from so long after its first request on.
    #[arg(long = "fault", value_name = "FAULT", verbatim_doc_comment)]
    pub faults: Vec<gipfel_inference_sim::Fault>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
