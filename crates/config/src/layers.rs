//! The files that a configuration is made of: itself, what it includes, and the site's file.
//!
//! Each has `defaults` of its own. An experiment's key goes before the file's, that before those of what it includes,
//! and the site's file comes last.

use std::path::{Component, Path, PathBuf};

use crate::{
    dataset::DatasetSettings,
    fault::Place,
    field::Field,
    file,
    file::{Form, check_version, misplaced_at_top, read_tree},
    reading::Reading,
    search,
    section::{Misplaced, Section},
    settings::Settings,
    substitute::substitute,
    surroundings::Surroundings,
    tree::{Node, Position, Value},
};

/// Deeper chains of includes are hard to follow, and most of them are a mistake.
const MOST_DEEP: usize = 8;

/// So many files are no configuration.
const MOST_FILES: usize = 64;

/// What one file says of all experiments; what it leaves open is absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    pub(crate) settings: Settings,
    pub(crate) max_parallel_experiments: Option<u32>,
    pub(crate) max_node_hours: Option<f64>,
}

impl Layer {
    /// Takes `defaults` and `dataset`.
    pub(crate) fn take(top: &mut Section<'_>) -> Self {
        let defaults = top.take("defaults");
        let dataset = DatasetSettings::take(top);
        match defaults.as_section() {
            Some(section) => Self::read_defaults(section, top, dataset),
            None => Self {
                settings: Settings::default().with_dataset(dataset, top),
                ..Self::default()
            },
        }
    }

    fn read_defaults(mut section: Section<'_>, top: &Section<'_>, dataset: DatasetSettings) -> Self {
        let max_parallel_experiments = section.take("max_parallel_experiments").as_count();
        let max_node_hours = section
            .take("max_node_hours")
            .as_number("a number of node-hours greater than 0", |hours| hours > 0.0);
        let mut settings = Settings::take(&mut section);
        if top.has("dataset") {
            if section.has("dataset") {
                section.reading.fault(
                    section.place_of_key("dataset"),
                    "given at the top level too; a file has one data set for all experiments",
                );
            }
            settings = settings.with_dataset(dataset, &section);
        }
        section.finish(&[
            file::belongs_to_an_experiment(),
            file::belongs_to_the_file(),
            search::misplaced(),
        ]);
        Self {
            settings,
            max_parallel_experiments,
            max_node_hours,
        }
    }

    /// Fills what is left open.
    pub(crate) fn or(self, lower: &Self) -> Self {
        Self {
            settings: self.settings.or(&lower.settings),
            max_parallel_experiments: self.max_parallel_experiments.or(lower.max_parallel_experiments),
            max_node_hours: self.max_node_hours.or(lower.max_node_hours),
        }
    }
}

/// The files that include each other, from the configuration down to the one that is read.
#[derive(Clone, Debug)]
pub(crate) struct Chain(Vec<PathBuf>);

impl Chain {
    pub(crate) fn of(file: &str) -> Self {
        Self(vec![normal(Path::new(file))])
    }

    /// The path of a file that the last one names.
    fn resolve(&self, named: &str) -> PathBuf {
        let folder = self.0.last().and_then(|file| file.parent());
        normal(&folder.unwrap_or(Path::new("")).join(named))
    }

    /// The circle that `path` would close.
    fn circle(&self, path: &Path) -> Option<String> {
        let begin = self.0.iter().position(|file| file == path)?;
        let circle = self.0.iter().skip(begin).map(PathBuf::as_path).chain([path]);
        Some(circle.map(show).collect::<Vec<_>>().join(" → "))
    }

    fn with(&self, path: PathBuf) -> Self {
        let mut files = self.0.clone();
        files.push(path);
        Self(files)
    }
}

/// A path without `.` and with `..` taken back where that can be told from the path alone.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        let can_go_back = matches!(normal.components().next_back(), Some(Component::Normal(_)));
        match component {
            Component::CurDir => {}
            Component::ParentDir if can_go_back => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

fn show(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Reads the files that `include` names. Of two files that give the same key, the later one goes first.
pub(crate) fn read_includes(field: &Field<'_>, chain: &Chain, around: &Surroundings<'_>) -> Layer {
    let named = if field.is_list() {
        field.as_list("").unwrap_or_default()
    } else if field.is_given() {
        vec![field.clone()]
    } else {
        Vec::new()
    };
    let mut layer = Layer::default();
    for field in named.iter().rev() {
        let path = field.as_text("the path of a YAML or TOML file, or a list of such paths");
        let included = path.and_then(|path| read_include(field, path, chain, around));
        layer = layer.or(&included.unwrap_or_default());
    }
    layer
}

fn read_include(field: &Field<'_>, named: &str, chain: &Chain, around: &Surroundings<'_>) -> Option<Layer> {
    let path = chain.resolve(named);
    if let Some(circle) = chain.circle(&path) {
        field.fault(format!("the files include each other: {circle}"));
        return None;
    }
    if chain.0.len() > MOST_DEEP {
        field.fault(format!(
            "the {MOST_DEEP} files above include each other already; put what they say together"
        ));
        return None;
    }
    let place = field.place();
    let named = (&place, "a path starts at the folder of the file that names it");
    read_file(
        &show(&path),
        named,
        &chain.with(path.clone()),
        field.reading,
        around,
    )
}

/// Reads the site's file, which nothing in the configuration names.
pub(crate) fn read_site(path: &str, reading: &Reading, around: &Surroundings<'_>) -> Option<Layer> {
    let file = reading.add_file(path, Form::of(path));
    let place = reading.place(Position::START.of_file(file), "");
    let named = (
        &place,
        "it is the site's file, named by `--site` or `GIPFEL_SITE`",
    );
    read_file(path, named, &Chain::of(path), reading, around)
}

fn read_file(
    path: &str,
    (named_at, where_from): (&Place, &str),
    chain: &Chain,
    reading: &Reading,
    around: &Surroundings<'_>,
) -> Option<Layer> {
    if reading.file_count() > MOST_FILES {
        reading.fault(
            named_at.clone(),
            format!("more than {MOST_FILES} files are included"),
        );
        return None;
    }
    let text = match around.file(path) {
        Ok(text) => text,
        Err(error) => {
            reading.fault(
                named_at.clone(),
                format!("cannot read `{path}`: {error}; {where_from}"),
            );
            return None;
        }
    };
    let form = Form::of(path);
    let file = reading.add_file(path, form);
    let node = read_tree(&text, form, file, reading)?;
    read_settings(node, file, chain, reading, around)
}

/// What an included file may hold: everything but experiments.
fn read_settings(
    mut node: Node,
    file: u16,
    chain: &Chain,
    reading: &Reading,
    around: &Surroundings<'_>,
) -> Option<Layer> {
    if node.is_null() {
        return None;
    }
    substitute(&mut node, reading, around);
    let Value::Map(entries) = &node.value else {
        let place = reading.place(node.at, "");
        reading.fault(place, "an included file is a map of keys, such as `defaults:`");
        return None;
    };
    let at = Position::START.of_file(file);
    let mut top = Section::new(reading, String::new(), at, entries);
    check_version(&top.take("version"));
    let include = top.take("include");
    let own = Layer::take(&mut top);
    let layer = own.or(&read_includes(&include, chain, around));
    let mut misplaced = vec![Misplaced {
        keys: vec!["experiments"],
        sentence: "belongs to the file that includes this one, which holds settings for all its experiments"
            .to_owned(),
    }];
    misplaced.extend(misplaced_at_top());
    top.finish(&misplaced);
    Some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_at_the_file_that_names_them() {
        let check = |file: &str, named: &str, expected: &str| {
            assert_eq!(show(&Chain::of(file).resolve(named)), expected, "{file} {named}");
        };
        check("bench.yaml", "site.yaml", "site.yaml");
        check("a/bench.yaml", "site.yaml", "a/site.yaml");
        check("a/bench.yaml", "../site.yaml", "site.yaml");
        check("a/bench.yaml", "./b/../site.yaml", "a/site.yaml");
        check("../bench.yaml", "../site.yaml", "../../site.yaml");
        check("a/bench.yaml", "/etc/site.yaml", "/etc/site.yaml");
    }
}
