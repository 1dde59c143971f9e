// The graph of a task: its steps from the left to the right, or downwards on a narrow screen, each with the picture and the word of its state.

import { html, kind, picture, word } from "./parts.js";
import { useEffect, useState } from "./vendor/hooks.js";

const WIDTH = 174;
const HEIGHT = 46;
const GAP = { along: 34, across: 14 };

const NARROW = matchMedia("(max-width: 720px)");

/** How far each node is from those that depend on nothing. */
function ranks(nodes) {
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const found = new Map();
  const rank = (node) => {
    if (!found.has(node.name)) {
      // The API's graphs have no cycle. Should one have, this ends all the same.
      found.set(node.name, 0);
      const before = node.depends_on.map((name) => byName.get(name)).filter(Boolean).map(rank);
      found.set(node.name, before.length === 0 ? 0 : Math.max(...before) + 1);
    }
    return found.get(node.name);
  };
  nodes.forEach(rank);
  return found;
}

/** Places nodes in ranks. Returns the places by name, and how many ranks and lanes there are. */
function layers(nodes) {
  const rankOf = ranks(nodes);
  const lanes = [];
  const places = new Map(nodes.map((node) => {
    const rank = rankOf.get(node.name);
    lanes[rank] = (lanes[rank] ?? 0) + 1;
    return [node.name, { rank, lane: lanes[rank] - 1 }];
  }));
  for (const place of places.values()) place.of = lanes[place.rank];
  return { places, ranks: lanes.length, lanes: Math.max(0, ...lanes.map((count) => count ?? 0)) };
}

/** The position of each node of one band, whose first lane is at `offset`, and the size of the band across. */
function band(nodes, offset, narrow) {
  const { places, ranks: count, lanes } = layers(nodes);
  const along = narrow ? HEIGHT + GAP.along : WIDTH + GAP.along;
  const across = narrow ? WIDTH + GAP.across : HEIGHT + GAP.across;
  const at = new Map();
  for (const [name, { rank, lane, of }] of places) {
    const x = rank * along;
    const y = offset + (lane + (lanes - of) / 2) * across;
    at.set(name, narrow ? { x: y, y: x } : { x, y });
  }
  return { at, along: Math.max(0, count * along - GAP.along), across: lanes * across };
}

function Edge({ from, to, narrow, dotted }) {
  const [x1, y1] = narrow ? [from.x + WIDTH / 2, from.y + HEIGHT] : [from.x + WIDTH, from.y + HEIGHT / 2];
  const [x2, y2] = narrow ? [to.x + WIDTH / 2, to.y - 5] : [to.x - 5, to.y + HEIGHT / 2];
  const middle = narrow ? (y1 + y2) / 2 : (x1 + x2) / 2;
  const path = narrow ? `M${x1} ${y1}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}` : `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`;
  return html`<path class=${dotted ? "edge dotted" : "edge"} d=${path} marker-end="url(#tip)" />`;
}

function Node({ node, at }) {
  const of = node.state ?? "pending";
  const said = node.state === null ? "only if compensated" : word(of);
  const text = html`
    <g class="node ${node.state === null ? "possible" : kind(of)}" transform="translate(${at.x} ${at.y})">
      <rect width=${WIDTH} height=${HEIGHT} rx=${node.compensates ? HEIGHT / 2 : 7} />
      <svg x=${node.compensates ? 16 : 11} y="15" width="16" height="16" viewBox="0 0 16 16" class="picture"><path d=${picture(node.state === null ? "compensating" : of)} /></svg>
      <text class="name" x=${node.compensates ? 40 : 35} y="20">${node.name}</text>
      <text class="word" x=${node.compensates ? 40 : 35} y="36">${said}${node.optional ? " · optional" : ""}</text>
    </g>`;
  // A step that is not in the task yet has nothing to go to.
  return node.state === null ? text : html`<a href="#step-${node.name}">${text}</a>`;
}

export function Graph({ graph }) {
  const [narrow, setNarrow] = useState(NARROW.matches);
  const [all, showAll] = useState(false);
  useEffect(() => {
    const look = () => setNarrow(NARROW.matches);
    NARROW.addEventListener("change", look);
    return () => NARROW.removeEventListener("change", look);
  }, []);
  const steps = graph.nodes.filter((node) => !node.compensates);
  const possible = graph.nodes.filter((node) => node.compensates);
  const decided = possible.filter((node) => node.state !== null);
  const compensations = all ? possible : decided;
  const first = band(steps, 0, narrow);
  const second = band(compensations, first.across + (compensations.length > 0 ? 26 : 0), narrow);
  const at = new Map([...first.at, ...second.at]);
  const along = Math.max(first.along, second.along);
  const across = compensations.length > 0 ? first.across + 26 + second.across : first.across;
  const [width, height] = narrow ? [across, along] : [along, across];
  const edges = [...steps, ...compensations].flatMap((node) =>
    node.depends_on.filter((name) => at.has(name)).map((name) => html`<${Edge} from=${at.get(name)} to=${at.get(node.name)} narrow=${narrow} dotted=${Boolean(node.compensates)} />`));
  return html`
    <div class="scroll" tabindex="0" role="group" aria-label="Graph of the steps">
      <svg class="graph" width=${width + 4} height=${height + 4} viewBox="-2 -2 ${width + 4} ${height + 4}">
        <defs><marker id="tip" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8Z" /></marker></defs>
        ${edges}
        ${[...steps, ...compensations].map((node) => html`<${Node} key=${node.name} node=${node} at=${at.get(node.name)} />`)}
      </svg>
    </div>
    ${possible.length > decided.length && html`
      <label class="check"><input type="checkbox" checked=${all} onChange=${(event) => showAll(event.target.checked)} /> Show the compensations that are not to run</label>`}`;
}
