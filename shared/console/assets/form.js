// A form for a JSON value, made of the value's schema.

import { html, Prose } from "./parts.js";

/** The texts among which a schema has one chosen; `undefined` where it does not. */
function choicesOf(schema) {
  const values = schema.enum ?? (schema.oneOf ?? [schema]).map((one) => one.const);
  return values.every((one) => typeof one === "string") ? values : undefined;
}

/** The types that a schema allows, without `null`; and whether `null` is among them. */
function typesOf(schema) {
  const options = schema.anyOf ?? [schema];
  const types = options.flatMap((one) => one.type ?? (choicesOf(one) ? "string" : []));
  const main = options.find((one) => one.type !== "null") ?? schema;
  return { main: { ...main, description: schema.description ?? main.description }, types: types.filter((type) => type !== "null"), empties: types.includes("null") };
}

/** How a value of this schema is typed in: `object` as fields of its own, `json` where nothing simpler fits. */
export function kindOf(schema) {
  const { main, types } = typesOf(schema);
  if (types.length !== 1) return "json";
  if (choicesOf(main)) return "choice";
  if (types[0] === "object") return main.properties ? "object" : "json";
  return { string: "text", number: "number", integer: "number", boolean: "yes" }[types[0]] ?? "json";
}

/** Whether there is a form for a value of this schema. */
export const hasForm = (schema) => Boolean(schema) && kindOf(schema) === "object";

/**
 * The fields of an object of this schema. `path` goes before their names. A field that may be empty is not required.
 */
export function Fields({ schema, path = "" }) {
  const { main } = typesOf(schema);
  return Object.entries(main.properties).map(([name, part]) => {
    const { main: of, empties } = typesOf(part);
    const required = (main.required ?? []).includes(name) && !empties;
    const [kind, key] = [kindOf(part), `${path}/${name}`];
    // The description is the one of the Rust field.
    const hint = of.description && html`<span class="hint"><${Prose} text=${of.description.replaceAll("`None`", "`null`")} /></span>`;
    if (kind === "object" && required) return html`<fieldset><legend>${name}</legend>${hint}<${Fields} schema=${part} path=${key} /></fieldset>`;
    if (kind === "yes" || kind === "choice") {
      const choices = kind === "yes" ? ["true", "false"] : choicesOf(of);
      return html`<label><code>${name}</code> ${hint}
        <select name=${key} required=${required}><option value=""></option>${choices.map((one) => html`<option>${one}</option>`)}</select></label>`;
    }
    if (kind === "text" || kind === "number") {
      return html`<label><code>${name}</code> ${hint}
        <input name=${key} required=${required} autocomplete="off" inputmode=${kind === "number" ? "decimal" : undefined}
          placeholder=${of.format === "date-time" ? "2026-01-31T12:00:00Z" : undefined} /></label>`;
    }
    return html`<label><code>${name}</code>, as JSON ${hint}<textarea name=${key} rows="3" required=${required} spellcheck="false"></textarea></label>`;
  });
}

/**
 * What was typed into the fields, as JSON. Numbers go as they were typed, so that they keep every digit.
 *
 * @throws {Error} A field is missing, or its text is not what its schema says.
 */
export function written(schema, form, path = "") {
  const { main } = typesOf(schema);
  const parts = Object.entries(main.properties).map(([name, part]) => {
    const required = (main.required ?? []).includes(name);
    const [kind, key] = [kindOf(part), `${path}/${name}`];
    const isField = form.has(key);
    const text = isField ? form.get(key).trim() : "";
    let json = text;
    if (kind === "object" && !isField) json = written(part, form, key);
    else if (text === "") {
      if (!required) return "";
      if (!typesOf(part).empties) throw new Error(`${name} is missing`);
      json = "null";
    } else {
      check(name, text, kind, typesOf(part).main);
      if (kind === "text" || kind === "choice") json = JSON.stringify(text);
    }
    return `${JSON.stringify(name)}:${json}`;
  });
  return `{${parts.filter((part) => part !== "").join(",")}}`;
}

const FORMATS = {
  "date-time": [/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i, "a time such as 2026-01-31T12:00:00Z"],
  uuid: [/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i, "an id"],
};

/** Throws unless the text of a field is of its kind. The API checks the rest. */
function check(name, text, kind, schema) {
  if (kind === "text" || kind === "choice") {
    const [form, what] = FORMATS[schema.format] ?? [];
    if (form && !form.test(text)) throw new Error(`${name} is not ${what}: ${text}`);
    return;
  }
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(kind === "number" ? `${name} is not a number: ${text}` : `${name} is not JSON: ${error.message}`);
  }
  if (kind !== "number") return;
  if (typeof value !== "number") throw new Error(`${name} is not a number: ${text}`);
  if (typesOf(schema).types[0] === "integer" && !Number.isInteger(value)) throw new Error(`${name} is not a whole number: ${text}`);
  if (value < schema.minimum) throw new Error(`${name} is less than ${schema.minimum}: ${text}`);
}
