//! Which columns fit, and how wide they are.

use super::experiment::Experiment;

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Model,
    Backend,
    Deployment,
    State,
    Rate,
    Ttft,
    Qps,
    Peak,
    Left,
}

impl Column {
    const ALL: [Self; 9] = [
        Self::Model,
        Self::Backend,
        Self::Deployment,
        Self::State,
        Self::Rate,
        Self::Ttft,
        Self::Qps,
        Self::Peak,
        Self::Left,
    ];
    /// Those that a narrow terminal can do without, the most dispensable first.
    const DISPENSABLE: [Self; 5] = [Self::Deployment, Self::Qps, Self::Backend, Self::Left, Self::Ttft];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Model => "Model",
            Self::Backend => "Backend",
            Self::Deployment => "Deployment",
            Self::State => "State",
            Self::Rate => "Rate",
            Self::Ttft => "TTFT p95",
            Self::Qps => "QPS",
            Self::Peak => "Peak req/s",
            Self::Left => "Left",
        }
    }

    pub(super) fn is_number(self) -> bool {
        matches!(
            self,
            Self::Rate | Self::Ttft | Self::Qps | Self::Peak | Self::Left
        )
    }

    fn width(self, experiments: &[Experiment]) -> usize {
        let longest = |text: fn(&Experiment) -> String| {
            let widths = experiments
                .iter()
                .map(|experiment| text(experiment).chars().count());
            widths.max().unwrap_or(0).max(self.title().len())
        };
        match self {
            Self::Model => longest(Experiment::name),
            Self::Backend => longest(|experiment| experiment.backend.to_string()),
            Self::Deployment => longest(|experiment| experiment.deployment.to_string()),
            Self::State => 9,
            Self::Rate | Self::Qps | Self::Left => 5,
            Self::Ttft => 8,
            Self::Peak => 16,
        }
    }
}

/// The columns from left to right, and the blanks between them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) columns: Vec<(Column, usize)>,
    pub(super) gap: usize,
}

/// A model's name is not cut shorter than this for the sake of another column.
const SHORTEST_NAME: usize = 12;

impl Layout {
    /// What fits into so many columns of a terminal.
    pub(super) fn new(experiments: &[Experiment], available: usize) -> Self {
        let mut layout = Self {
            columns: Column::ALL
                .map(|column| (column, column.width(experiments)))
                .to_vec(),
            gap: 2,
        };
        if layout.width() > available {
            layout.gap = 1;
        }
        let wanted = Column::Model.width(experiments).min(SHORTEST_NAME);
        for column in Column::DISPENSABLE {
            if layout.room_for_name(available) >= wanted {
                break;
            }
            layout.columns.retain(|(other, _)| *other != column);
        }
        let room = layout.room_for_name(available);
        for (column, width) in &mut layout.columns {
            if *column == Column::Model {
                *width = (*width).min(room.max(1));
            }
        }
        layout
    }

    /// With a blank before the first column.
    fn width(&self) -> usize {
        let columns: usize = self.columns.iter().map(|(_, width)| width).sum();
        1 + columns + self.gap * (self.columns.len() - 1)
    }

    fn room_for_name(&self, available: usize) -> usize {
        let names = self.columns.iter().filter(|(column, _)| *column == Column::Model);
        let others = self.width() - names.map(|(_, width)| width).sum::<usize>();
        available.saturating_sub(others)
    }
}
