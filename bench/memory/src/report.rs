//! The results as a table.

use std::fmt::Write as _;

use crate::measure::Memory;

/// What was measured at one size.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Services in the mesh.
    pub services: usize,
    /// Each new proxy, connected and not used.
    pub connected: Vec<Memory>,
    /// The same, after its calls.
    pub calling: Vec<Memory>,
    /// The proxy that was there before the mesh grew to this size, after its calls.
    pub lasting: Memory,
    /// Bytes that the operator sent to one new proxy.
    pub sent: u64,
    /// Bytes that it sent to the proxy that was there, while the mesh grew to this size.
    pub sent_while_growing: u64,
    /// The operator's memory, in KiB.
    pub operator: u64,
}

/// The middle one in order.
fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn resident(memories: &[Memory]) -> u64 {
    median(memories.iter().map(|memory| memory.resident))
}

fn anonymous(memories: &[Memory]) -> u64 {
    median(memories.iter().map(|memory| memory.anonymous))
}

fn spread(values: impl Iterator<Item = u64> + Clone) -> u64 {
    values.clone().max().unwrap_or_default() - values.min().unwrap_or_default()
}

/// The table, and by how much memory differs between its rows.
pub fn page(rows: &[Row]) -> String {
    table(rows).unwrap_or_default()
}

fn table(rows: &[Row]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let lines = &mut text;
    writeln!(
        lines,
        "| Services in the mesh | new proxy, connected: resident / own KiB | new proxy, calling 10: resident / own KiB | proxy that saw the mesh grow, calling 10: resident / own KiB | bytes sent to a new proxy | bytes sent while the mesh grew | operator's memory MiB |"
    )?;
    writeln!(lines, "|---|---|---|---|---|---|---|")?;
    for row in rows {
        writeln!(
            lines,
            "| {} | {} / {} | {} / {} | {} / {} | {} | {} | {} |",
            row.services,
            resident(&row.connected),
            anonymous(&row.connected),
            resident(&row.calling),
            anonymous(&row.calling),
            row.lasting.resident,
            row.lasting.anonymous,
            row.sent,
            row.sent_while_growing,
            row.operator / 1024,
        )?;
    }
    let calling = rows.iter().map(|row| resident(&row.calling));
    let lasting = rows.iter().map(|row| row.lasting.resident);
    writeln!(
        lines,
        "\nBetween the smallest and the largest mesh a calling proxy's memory differs by {} KiB, that of the proxy that saw it\ngrow by {} KiB. The bar is 1,024 KiB.",
        spread(calling),
        spread(lasting),
    )?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_differs_by_what_lies_between_the_extremes_of_the_medians() {
        let row = |resident: [u64; 3]| Row {
            calling: resident
                .map(|resident| Memory {
                    resident,
                    anonymous: 0,
                })
                .to_vec(),
            ..Row::default()
        };
        let page = page(&[row([7000, 9999, 7010]), row([7100, 6000, 7105])]);
        assert!(page.contains("memory differs by 90 KiB"), "{page}");
    }
}
