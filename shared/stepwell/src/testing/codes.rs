//! Renders a list of error codes for its `ERRORS.md`.

use crate::core::codes::ErrorCode;

/// Renders a section in Markdown for each code of a list: its kind, who reports it, its meaning, the remedy, and what a
/// customer reads.
pub fn render_codes<C: ErrorCode>(codes: &[C]) -> String {
    let sections = codes.iter().map(|code| {
        let entry = code.entry();
        let kind = entry.kind.as_str();
        let (code, by, meaning, remedy) = (entry.code, entry.reported_by, entry.meaning.trim(), entry.remedy);
        let customer = entry.customer.map_or_else(String::new, |customer| {
            let retry = if customer.retry { "" } else { " No retry is offered." };
            format!("\n**The customer reads:** {}{retry}\n", customer.text)
        });
        format!("\n## `{code}`\n\n*{kind}*, by {by}\n\n{meaning}\n\n**What to do:** {remedy}\n{customer}")
    });
    sections.collect()
}
