// Makes the parts of the page. Text stays text.

export function element(name, attributes, children = []) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== "") made.setAttribute(key, value);
  made.append(...[children].flat());
  return made;
}

// A link whose text is somebody else's: it must not turn around what stands beside it.
export function link(href, text) {
  return element("a", { href }, element("bdi", {}, readable(text) || "(empty)"));
}

// With what cannot be seen, or turns the direction of what follows, as an escape.
export function readable(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
}

// The same of a text that has lines.
export const lines = (text) => text.split("\n").map(readable).join("\n");

// A time of the API (UTC), for people.
export function moment(said) {
  return String(said).replace("T", " ").replace(/(\.\d+)?(\+00:00|Z)$/, (_, part) => (part ?? "").slice(0, 4));
}

// A field to search by, with its label.
export function control({ name, description, schema }) {
  const id = `ask-${name}`;
  const kind = schema.items ?? schema;
  let field;
  if (kind.enum !== undefined) {
    field = element("select", { id }, [
      element("option", {}, ""), ...kind.enum.map((value) => element("option", { value }, value)),
    ]);
    field.options[0].value = "";
    field.options[0].textContent = "default";
  } else if (kind.type === "integer") {
    field = element("input", { id, inputmode: "numeric" });
  } else {
    field = element("input", { id, autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
  }
  const label = element("label", { for: id }, name.replace(/^column\./, ""));
  const about = kind.format === "date-time" ? description.replace("RFC 3339", "UTC, as 2026-01-31T12:00") : description;
  if (about.startsWith("Column ")) return element("div", {}, [label, field]); // which its name says
  field.setAttribute("aria-describedby", `${id}-hint`);
  const hint = element("span", { id: `${id}-hint`, class: "hint" }, about.replaceAll("`", ""));
  return element("div", {}, [label, field, hint]);
}
