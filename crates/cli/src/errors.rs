//! `quipu errors`: the reference of codes.

use quipu_types::ErrorCode;

use crate::output;

/// Prints the page.
pub(crate) fn run() -> anyhow::Result<()> {
    output::line("# Error codes\n")?;
    output::line(
        "Every error carries its code, whether the operation may have happened (`effect`), and what \
         to do (`retry`).\n",
    )?;
    output::line("| Code | Name | Meaning |\n|---|---|---|")?;
    for code in ErrorCode::ALL {
        output::line(&format!("| {code} | `{}` | {} |", code.name(), code.summary()))?;
    }
    Ok(())
}
