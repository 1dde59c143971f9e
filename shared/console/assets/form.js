// A form for a JSON value, made of the value's schema.

import { html, Prose } from "./parts.js";

/** The types that a schema allows, without `null`; and whether `null` is among them. */
function typesOf(schema) {
  const options = schema.anyOf ?? [schema];
  const types = options.flatMap((one) => one.type ?? (one.enum || one.const !== undefined ? "string" : []));
  const main = options.find((one) => one.type !== "null") ?? schema;
  return { main: { ...main, description: schema.description ?? main.description }, types: types.filter((type) => type !== "null"), empties: types.includes("null") };
}

/** How a value of this schema is typed in: `object` as fields of its own, `json` where nothing simpler fits. */
function kindOf(schema) {
  const { main, types } = typesOf(schema);
  if (types.length !== 1) return "json";
  if (main.enum?.every((one) => typeof one === "string")) return "choice";
  if (types[0] === "object") return main.properties ? "object" : "json";
  return { string: "text", number: "number", integer: "number", boolean: "yes" }[types[0]] ?? "json";
}

/** Whether there is a form for a value of this schema. */
export const hasForm = (schema) => Boolean(schema) && kindOf(schema) === "object";

/** What stands for a field without a value, as JSON: nothing, where it may be left out. */
const missing = (schema, required) => (required ? (typesOf(schema).empties ? "null" : undefined) : "");

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
      const choices = kind === "yes" ? ["true", "false"] : of.enum;
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
 * @throws {Error} A field is no JSON, or no number.
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
    else if (text === "") json = missing(part, required) ?? (kind === "text" ? '""' : "null");
    else if (kind === "text" || kind === "choice") json = JSON.stringify(text);
    else check(name, text, kind);
    return json === "" ? "" : `${JSON.stringify(name)}:${json}`;
  });
  return `{${parts.filter((part) => part !== "").join(",")}}`;
}

/** Throws unless the text of a field is JSON, and a number if it has to be one. */
function check(name, text, kind) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(kind === "number" ? `${name} is not a number: ${text}` : `${name} is not JSON: ${error.message}`);
  }
  if (kind === "number" && typeof value !== "number") throw new Error(`${name} is not a number: ${text}`);
}
