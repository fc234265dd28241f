//! The report as one HTML file that needs nothing else.

use super::Part;

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:80em;margin:2em auto;padding:0 1em;color:#1b1f24}\
table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}\
td,th{border-bottom:1px solid #d0d7de;padding:.3em .7em;text-align:right;white-space:nowrap}\
td:first-child,th:first-child{text-align:left}\
code{background:#f3f4f6;padding:.1em .3em}\
figure{margin:1em 0}figcaption{color:#57606a}\
.good{color:#1a7f37;font-weight:600}.bad{color:#cf222e;font-weight:600}";

pub(super) fn page(parts: &[Part]) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>Measured</title><style>{STYLE}</style></head><body>\n"
    );
    for part in parts {
        text.push_str(&rendered(part));
        text.push('\n');
    }
    text.push_str("</body></html>\n");
    text
}

fn rendered(part: &Part) -> String {
    match part {
        Part::Heading(level, title) => format!("<h{level}>{}</h{level}>", escaped(title)),
        Part::Text(words) => match words.strip_prefix('`').and_then(|it| it.strip_suffix('`')) {
            Some(code) => format!("<p><code>{}</code></p>", escaped(code)),
            None => format!("<p>{}</p>", escaped(words)),
        },
        Part::Plot(title, _, picture) => {
            format!("<figure>{picture}<figcaption>{}</figcaption></figure>", escaped(title))
        }
        Part::Table(head, rows) => {
            let head: String = head.iter().map(|it| format!("<th>{}</th>", escaped(it))).collect();
            let row = |row: &Vec<String>| {
                let cells: String = row.iter().map(|cell| cell_of(cell)).collect();
                format!("<tr>{cells}</tr>")
            };
            let rows: String = rows.iter().map(row).collect();
            format!("<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
        }
    }
}

fn cell_of(text: &str) -> String {
    let class = match text {
        "aim met" | "must met" => " class=\"good\"",
        "not met" => " class=\"bad\"",
        _other => "",
    };
    format!("<td{class}>{}</td>", escaped(text))
}

/// Text as HTML and SVG take it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
