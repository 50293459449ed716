//! The looks of the classes that charts are drawn with.

/// Names of colours with their values in light and in dark. Blue, vermilion, green, purple and amber are told apart
/// with every common kind of colour blindness, and stand out from their paper by 3 : 1 at least.
const COLOURS: &[(&str, &str, &str)] = &[
    ("paper", "#ffffff", "#14181d"),
    ("ink", "#1b2127", "#e8ecf0"),
    ("muted", "#58636e", "#a3afba"),
    ("grid", "#e6e9ed", "#2a323a"),
    ("axis", "#8b96a1", "#6d7985"),
    ("c0", "#0064a6", "#5ab4f2"),
    ("c1", "#c24e0c", "#ff935a"),
    ("c2", "#00785a", "#45cfa3"),
    ("c3", "#92478a", "#e3a0d4"),
    ("c4", "#8a6100", "#e6b84a"),
];

/// Selectors and what they are given; `$name` is a colour.
const RULES: &[(&str, &str)] = &[
    ("text", "font-family:$font;fill:$ink"),
    (".m", "fill:$muted"),
    (
        ".b",
        "font-weight:600;stroke:$paper;stroke-width:4;stroke-linejoin:round;paint-order:stroke",
    ),
    (
        ".l",
        "fill:$c1;font-weight:600;stroke:$paper;stroke-width:4;stroke-linejoin:round;paint-order:stroke",
    ),
    (".head", "font-weight:600"),
    (".grid", "stroke:$grid;stroke-width:1"),
    (".axis", "stroke:$axis;stroke-width:1"),
    (".limit", "stroke:$c1;stroke-width:1.5;stroke-dasharray:7 4"),
    (".peak", "stroke:$ink;stroke-width:1.5"),
    (".band", "fill:$c0;fill-opacity:.16"),
    (".stage", "fill:$muted;fill-opacity:.07"),
    (".whisker", "stroke:$ink;stroke-width:1.5;fill:none"),
    (
        ".k0",
        "stroke:$c0;stroke-width:1.6;fill:none;stroke-linejoin:round",
    ),
    (
        ".k1",
        "stroke:$c1;stroke-width:1.6;fill:none;stroke-linejoin:round",
    ),
    (
        ".k2",
        "stroke:$c2;stroke-width:1.6;fill:none;stroke-linejoin:round",
    ),
    (
        ".k3",
        "stroke:$c3;stroke-width:1.6;fill:none;stroke-linejoin:round",
    ),
    (
        ".k4",
        "stroke:$c4;stroke-width:1.6;fill:none;stroke-linejoin:round",
    ),
    (".thick", "stroke-width:2.6"),
    (".wide", "stroke-width:5;stroke-linecap:butt"),
    (".dash", "stroke-dasharray:6 3"),
    (".dot", "stroke-dasharray:2 3"),
    (".dots", "stroke-width:2.6;stroke-linecap:round;stroke-opacity:.5"),
    (".p0", "fill:$c0"),
    (".p1", "fill:$c1"),
    (".p2", "fill:$c2"),
    (".p3", "fill:$c3"),
    (".p4", "fill:$c4"),
    (".h0", "fill:$paper;stroke:$c0;stroke-width:1.5"),
    (".h1", "fill:$paper;stroke:$c1;stroke-width:1.5"),
    (".h2", "fill:$paper;stroke:$c2;stroke-width:1.5"),
    (".h3", "fill:$paper;stroke:$c3;stroke-width:1.5"),
    (".h4", "fill:$paper;stroke:$c4;stroke-width:1.5"),
    (".a0", "fill:$c0;fill-opacity:.6;shape-rendering:crispEdges"),
    (".a1", "fill:$c1;shape-rendering:crispEdges"),
];

const FONTS: &str = "Inter,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif";

/// The rules for charts within a page, whose colours are custom properties.
pub(crate) fn for_page() -> String {
    rules(".chart ", |name| format!("var(--{name})"))
}

/// The values of the custom properties in light.
pub(crate) fn light() -> String {
    properties(|(_, light, _)| light)
}

/// The values of the custom properties in dark.
pub(crate) fn dark() -> String {
    properties(|(_, _, dark)| dark)
}

/// The rules for a file, which is light.
pub(crate) fn for_file() -> String {
    rules("", |name| light_value(name).to_owned())
}

fn rules(scope: &str, colour: impl Fn(&str) -> String) -> String {
    let lines: Vec<String> = RULES
        .iter()
        .map(|(selector, rule)| format!("{scope}{selector}{{{}}}\n", filled(rule, &colour)))
        .collect();
    lines.concat()
}

fn light_value(name: &str) -> &'static str {
    COLOURS
        .iter()
        .find(|(one, ..)| *one == name)
        .map_or("currentColor", |(_, light, _)| light)
}

fn properties(pick: impl Fn(&(&'static str, &'static str, &'static str)) -> &'static str) -> String {
    let properties: Vec<String> = COLOURS
        .iter()
        .map(|colour| format!("--{}:{};", colour.0, pick(colour)))
        .collect();
    properties.concat()
}

/// A rule with its fonts and colours filled in.
fn filled(rule: &str, colour: impl Fn(&str) -> String) -> String {
    let mut text = rule.replace("$font", FONTS);
    for (name, ..) in COLOURS {
        text = text.replace(&format!("${name}"), &colour(name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_is_filled_in() {
        for css in [for_page(), for_file()] {
            assert!(!css.contains('$'), "{css}");
        }
        assert!(for_file().contains(".p1{fill:#c24e0c}"));
        assert!(for_page().contains(".chart .p1{fill:var(--c1)}"));
    }

    #[test]
    fn colours_stand_out_from_their_paper() {
        let paper = (COLOURS[0].1, COLOURS[0].2);
        for (name, light, dark) in COLOURS
            .iter()
            .filter(|(name, ..)| !["paper", "grid"].contains(name))
        {
            let needed = if ["ink", "muted"].contains(name) { 4.5 } else { 2.9 };
            for (colour, paper) in [(light, paper.0), (dark, paper.1)] {
                let found = contrast(colour, paper);
                assert!(found >= needed, "{name} {colour}: {found:.2}");
            }
        }
    }

    fn contrast(one: &str, other: &str) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = u8::from_str_radix(&colour[at..at + 2], 16).expect("a channel");
            let value = f64::from(value) / 255.0;
            if value <= 0.04 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }
}
