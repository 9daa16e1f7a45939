//! Figures as cards: what a reader looks at first.

use askama::Template;

use super::PageError;

/// A figure.
#[derive(Default)]
pub(super) struct Card {
    pub name: &'static str,
    pub value: String,
    /// What is said of it in small print.
    pub more: String,
    /// Per cent that are left.
    pub bar: Option<String>,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<dl class="cards">
{%- for card in cards %}
<div><dt>{{ card.name }}</dt><dd><span class="big">{{ card.value }}</span>
{%- if let Some(left) = card.bar %}<span class="bar" aria-hidden="true"><span style="width:{{ left }}%"></span></span>{% endif %}
{%- if !card.more.is_empty() %}<div class="soft">{{ card.more }}</div>{% endif %}</dd></div>
{%- endfor %}
</dl>"#
)]
struct Cards {
    cards: Vec<Card>,
}

/// Cards in their order.
///
/// # Errors
/// If they cannot be rendered.
pub(super) fn shown(cards: Vec<Card>) -> Result<Option<String>, PageError> {
    Ok(Some(Cards { cards }.render()?))
}
