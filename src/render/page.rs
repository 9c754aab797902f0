//! HTML pages that need nothing beside themselves.

use std::fmt::{Display, Formatter, Result, Write};

/// The looks, light and dark.
const STYLE: &str = include_str!("page.css");

/// A page that is being written. Text of files and users goes in through [`PageText`].
#[derive(Clone, Debug)]
pub struct Page(String);

impl Page {
    /// A page with this title, and `style` (CSS) after that of all pages.
    pub fn open(title: &str, style: &str) -> Self {
        let mut page = Self(String::new());
        page.push(format_args!(
            r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{}</title>
<style>
{STYLE}{style}</style>
</head>
<body>
<main>
"#,
            PageText(title)
        ));
        page
    }

    /// Adds HTML.
    pub fn push(&mut self, html: impl Display) {
        // Writing into a string does not fail.
        let _ = write!(self.0, "{html}");
    }

    /// Adds a heading of a section.
    pub fn heading(&mut self, text: &str) {
        self.push(format_args!("<h2>{}</h2>\n", PageText(text)));
    }

    /// The page, with `script` (JavaScript) at its end unless that is empty.
    pub fn close(mut self, script: &str) -> String {
        self.push("</main>\n");
        if !script.is_empty() {
            self.push(format_args!("<script>\n{script}</script>\n"));
        }
        self.push("</body>\n</html>\n");
        self.0
    }
}

/// Text with everything escaped that HTML or an attribute in quotes would take for its own.
#[derive(Clone, Copy, Debug)]
pub struct PageText<'a>(pub &'a str);

impl Display for PageText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                character => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_cannot_become_markup() {
        let text = PageText("<img src=x onerror='a' title=\"b\"> & ü").to_string();
        assert_eq!(
            text,
            "&lt;img src=x onerror=&#39;a&#39; title=&quot;b&quot;&gt; &amp; ü"
        );
    }
}
