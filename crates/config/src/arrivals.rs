//! How the gaps between arrivals are drawn.

use gipfel_model::ArrivalProcess;

use crate::section::Section;

/// Shapes beyond these are as good as one burst, and as equal gaps.
const LEAST_BURSTINESS: f64 = 0.01;
pub(crate) const MOST_BURSTINESS: f64 = 1e6;

/// What one level of the file says of arrivals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ArrivalSettings(Option<ArrivalProcess>);

impl ArrivalSettings {
    /// Takes `arrivals` and `burstiness`; a shape alone stands for gamma arrivals.
    pub(crate) fn take(section: &mut Section<'_>) -> Self {
        let (name, shape) = (section.take("arrivals"), section.take("burstiness"));
        let named = name.as_choice(ArrivalProcess::NAMES, |name| name);
        let burstiness = shape.as_number("a number from 0.01, such as 0.5", |burstiness| {
            (LEAST_BURSTINESS..=MOST_BURSTINESS).contains(&burstiness)
        });
        let process = match (named, burstiness) {
            (Some("constant"), None) => Some(ArrivalProcess::Constant),
            (Some("gamma"), None) => {
                if !shape.is_given() {
                    name.fault("gamma arrivals need `burstiness`, the shape of their gaps");
                }
                None
            }
            (Some("poisson" | "constant"), Some(_)) => {
                shape.fault("belongs to `arrivals: gamma` alone");
                None
            }
            // A shape of 1 is Poisson, with the arrivals that Poisson has.
            (Some("poisson"), None) | (_, Some(1.0)) => Some(ArrivalProcess::Poisson),
            (_, Some(burstiness)) => Some(ArrivalProcess::Gamma { burstiness }),
            (_, None) => None,
        };
        Self(process)
    }

    pub(crate) fn or(self, defaults: &Self) -> Self {
        Self(self.0.or(defaults.0))
    }

    pub(crate) fn process(self) -> ArrivalProcess {
        self.0.unwrap_or(ArrivalProcess::Poisson)
    }
}
