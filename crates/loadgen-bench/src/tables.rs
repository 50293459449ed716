//! What the server and the bare client write at their end: facts as lines `# name value`, then a table with commas.

use std::{
    io::{self, Write},
    str::FromStr,
};

/// A request as the server saw it; times are nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerRow {
    /// When the read that brought its last byte had returned.
    pub read_ns: u64,
    /// Just before the first write with a token; none if it was closed before.
    pub first_token_ns: Option<u64>,
    /// Just before the write with the last token.
    pub last_token_ns: Option<u64>,
}

/// All that a server saw; the first row is that of serial number 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTable {
    /// Connections that it has accepted.
    pub connections: u64,
    /// The most streams that were open at once.
    pub most_streams: u64,
    /// By how much the wall clock was ahead of the monotonic one at the begin and at the end.
    pub wall_offsets_ns: [i64; 2],
    /// Its requests by their serial numbers.
    pub rows: Vec<ServerRow>,
}

/// A request as a client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRow {
    /// What the server called it.
    pub serial: Option<u64>,
    /// When it was to be sent.
    pub scheduled_ns: u64,
    /// Just before it was written.
    pub sent_ns: Option<u64>,
    /// The client's time for its first token.
    pub first_token_ns: Option<u64>,
}

/// All that the bare client did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTable {
    /// Begin and end of the measured window.
    pub window_ns: [u64; 2],
    /// Connections that were dialled, all before the first request.
    pub connections: u64,
    /// All requests of the schedule, with those before and after the window.
    pub rows: Vec<ClientRow>,
}

/// A text is no such table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A fact is missing or no number.
    #[error("the table says nothing of `{0}`")]
    Fact(&'static str),
    /// A row is of another form.
    #[error("line {0} is no row of the table")]
    Row(usize),
}

impl ServerTable {
    /// Writes the table.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "# connections {}", self.connections)?;
        writeln!(out, "# most_streams {}", self.most_streams)?;
        writeln!(out, "# wall_offset_begin_ns {}", self.wall_offsets_ns[0])?;
        writeln!(out, "# wall_offset_end_ns {}", self.wall_offsets_ns[1])?;
        for row in &self.rows {
            let ServerRow {
                read_ns,
                first_token_ns,
                last_token_ns,
            } = row;
            writeln!(
                out,
                "{read_ns},{},{}",
                Cell(*first_token_ns),
                Cell(*last_token_ns)
            )?;
        }
        Ok(())
    }

    /// Reads the table.
    pub fn read(text: &str) -> Result<Self, TableError> {
        let row = |cells: [Option<u64>; 3]| {
            let [read_ns, first_token_ns, last_token_ns] = cells;
            Some(ServerRow {
                read_ns: read_ns?,
                first_token_ns,
                last_token_ns,
            })
        };
        Ok(Self {
            connections: fact(text, "connections")?,
            most_streams: fact(text, "most_streams")?,
            wall_offsets_ns: [
                fact(text, "wall_offset_begin_ns")?,
                fact(text, "wall_offset_end_ns")?,
            ],
            rows: rows(text, row)?,
        })
    }
}

impl ClientTable {
    /// Writes the table.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "# connections {}", self.connections)?;
        writeln!(out, "# window_begin_ns {}", self.window_ns[0])?;
        writeln!(out, "# window_end_ns {}", self.window_ns[1])?;
        for row in &self.rows {
            let (serial, sent, first) = (Cell(row.serial), Cell(row.sent_ns), Cell(row.first_token_ns));
            writeln!(out, "{},{serial},{sent},{first}", row.scheduled_ns)?;
        }
        Ok(())
    }

    /// Reads the table.
    pub fn read(text: &str) -> Result<Self, TableError> {
        let row = |cells: [Option<u64>; 4]| {
            let [scheduled_ns, serial, sent_ns, first_token_ns] = cells;
            Some(ClientRow {
                serial,
                scheduled_ns: scheduled_ns?,
                sent_ns,
                first_token_ns,
            })
        };
        Ok(Self {
            connections: fact(text, "connections")?,
            window_ns: [fact(text, "window_begin_ns")?, fact(text, "window_end_ns")?],
            rows: rows(text, row)?,
        })
    }
}

/// A number or nothing.
struct Cell(Option<u64>);

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |number| write!(f, "{number}"))
    }
}

fn fact<T: FromStr>(text: &str, name: &'static str) -> Result<T, TableError> {
    let facts = text.lines().map_while(|line| line.strip_prefix("# "));
    let mut pairs = facts.filter_map(|fact| fact.split_once(' '));
    pairs
        .find(|(found, _)| *found == name)
        .and_then(|(_, value)| value.parse().ok())
        .ok_or(TableError::Fact(name))
}

fn rows<const N: usize, T>(
    text: &str,
    row: impl Fn([Option<u64>; N]) -> Option<T>,
) -> Result<Vec<T>, TableError> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with('#'));
    lines
        .map(|(index, line)| cells(line).and_then(&row).ok_or(TableError::Row(index + 1)))
        .collect()
}

fn cells<const N: usize>(line: &str) -> Option<[Option<u64>; N]> {
    let mut cells = [None; N];
    let mut texts = line.split(',');
    for cell in &mut cells {
        let text = texts.next()?;
        if !text.is_empty() {
            *cell = Some(text.parse().ok()?);
        }
    }
    texts.next().is_none().then_some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ServerTable {
        let row = |read_ns, first_token_ns, last_token_ns| ServerRow {
            read_ns,
            first_token_ns,
            last_token_ns,
        };
        ServerTable {
            connections: 3,
            most_streams: 2,
            wall_offsets_ns: [1_795_295_535_000_000_000, -5],
            rows: vec![row(1, Some(2), Some(3)), row(4, None, None)],
        }
    }

    fn client() -> ClientTable {
        let row = |serial, sent_ns, first_token_ns| ClientRow {
            serial,
            scheduled_ns: 7,
            sent_ns,
            first_token_ns,
        };
        ClientTable {
            window_ns: [5, 9],
            connections: 1,
            rows: vec![row(Some(1), Some(8), Some(9)), row(None, None, None)],
        }
    }

    fn text(write: impl Fn(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn tables_come_back_as_they_were_written() {
        let (server, client) = (server(), client());
        assert_eq!(ServerTable::read(&text(|out| server.write(out))), Ok(server));
        assert_eq!(ClientTable::read(&text(|out| client.write(out))), Ok(client));
    }

    #[test]
    fn a_table_that_is_none_is_refused() {
        let good = text(|out| server().write(out));
        let check = |text: String, expected| assert_eq!(ServerTable::read(&text), Err(expected));
        check(
            good.replace("connections 3", "connections"),
            TableError::Fact("connections"),
        );
        check(good.replace("1,2,3", "1,2"), TableError::Row(5));
        check(good.replace("1,2,3", "1,2,3,4"), TableError::Row(5));
        check(good.replace("1,2,3", ",2,3"), TableError::Row(5));
        check(good.replace("1,2,3", "1,x,3"), TableError::Row(5));
    }
}
