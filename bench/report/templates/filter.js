// What is chosen, what matches it, and the address that says so.

var chosen = { implementation: null, spec: "", routing: "", from: 0, to: Infinity, study: "", picks: {}, at: "" };
var about = JSON.parse(document.getElementById("about").textContent);
var chips = about.implementations;
var bar = document.getElementById("filter");
var beforeIsolation = null;

/** Whether a fact of a trace, a variant or a row is among what is chosen; a list is where one of its members is. */
function factMatches(key, value) {
  if (Array.isArray(value)) { return value.some(function (one) { return factMatches(key, one); }); }
  if (key === "implementation") {
    return !chosen.implementation || chips.indexOf(value) < 0 || chosen.implementation.has(value);
  }
  if (key === "tokens") { return !(value > 0) || (value >= chosen.from && value <= chosen.to); }
  return !(key === "spec" || key === "routing") || !chosen[key] || chosen[key] === value;
}

function matches(meta) {
  return Object.keys(meta || {}).every(function (key) { return factMatches(key, meta[key]); });
}

/** Whether anything is left out. */
function isNarrowed() {
  return Boolean(chosen.implementation || chosen.spec || chosen.routing || chosen.from > 0 || chosen.to < Infinity);
}

/** A copy of `part` with only the places of `keep` in every list as long as it; inner objects likewise. */
function picked(part, keep, skip) {
  var result = {};
  Object.keys(part).forEach(function (key) {
    var value = part[key];
    if (key === "meta" || key === "colorscale" || skip.indexOf(key) >= 0) { result[key] = value; }
    else if (Array.isArray(value)) {
      result[key] = value.length === keep.length ? value.filter(function (_, place) { return keep[place]; }) : value;
    } else { result[key] = value && typeof value === "object" ? picked(value, keep, skip) : value; }
  });
  return result;
}

/** A trace as it is drawn under the filter: whole, hidden (greyed in the legend), or without some of its points. */
function filteredTrace(trace) {
  var meta = trace.meta || {};
  var lists = [];
  for (var key in meta) {
    if (Array.isArray(meta[key])) { lists.push(key); }
    else if (!factMatches(key, meta[key])) {
      return Object.assign({}, trace, { visible: trace.showlegend === false ? false : "legendonly" });
    }
  }
  if (!lists.length) { return trace; }
  var keep = meta[lists[0]].map(function (_, place) {
    return lists.every(function (key) { return factMatches(key, meta[key][place]); });
  });
  if (keep.every(Boolean)) { return trace; }
  var kept = picked(trace, keep, trace.z ? ["x"] : []);
  kept.meta = Object.assign({}, meta);
  lists.forEach(function (key) { kept.meta[key] = meta[key].filter(function (_, place) { return keep[place]; }); });
  if (!keep.some(Boolean)) { kept.visible = false; }
  return kept;
}

function isShown(trace) { return trace.visible === undefined || trace.visible === true; }

/** The categories of an axis that the traces which are drawn use, in the order of `known` where that is given. */
function categories(traces, letter, axis, known) {
  var used = new Set();
  traces.forEach(function (trace) {
    if ((trace[letter + "axis"] || letter) === axis && Array.isArray(trace[letter])) {
      trace[letter].forEach(function (value) { used.add(value); });
    }
  });
  return known ? known.filter(function (value) { return used.has(value); }) : Array.from(used);
}

/** Rows of a numeric axis that belong to implementations: those that are left close up. */
function withoutRows(data, layout) {
  var names = layout.meta.rows;
  var left = names.filter(function (name) { return factMatches("implementation", name); });
  var place = names.map(function (name) { return left.indexOf(name); });
  var moved = data.map(function (trace) {
    var own = trace.meta && trace.meta.implementation !== undefined && Array.isArray(trace.y);
    return own ? Object.assign({}, trace, { y: trace.y.map(function (y) {
      var row = Math.round(y);
      return place[row] < 0 ? null : y - row + place[row];
    }) }) : trace;
  });
  layout.height -= (names.length - left.length) * layout.meta.row_pixels;
  layout.yaxis = Object.assign({}, layout.yaxis, {
    tickvals: left.map(function (_, row) { return row; }),
    ticktext: layout.yaxis.ticktext.filter(function (_, row) { return place[row] >= 0; }),
    range: [Math.max(1, left.length) - 0.4, -0.6]
  });
  return moved;
}

/** A figure under the filter: its traces, what belongs to them, and no room for categories that are not drawn. */
function filtered(figure) {
  if (!isNarrowed()) { return figure; }
  var data = figure.data.map(filteredTrace);
  var layout = Object.assign({}, figure.layout);
  ["shapes", "annotations"].forEach(function (key) {
    if (layout[key]) { layout[key] = layout[key].filter(function (one) { return factMatches("implementation", one.name); }); }
  });
  var drawn = data.filter(isShown);
  Object.keys(layout).forEach(function (key) {
    var axis = /^([xy])axis(\d*)$/.exec(key);
    if (axis && layout[key].categoryarray && !layout[key].range) {
      var left = categories(drawn, axis[1], axis[1] + axis[2], layout[key].categoryarray);
      layout[key] = Object.assign({}, layout[key], { categoryarray: left });
    }
  });
  if (layout.meta && layout.meta.rows) { data = withoutRows(data, layout); drawn = data.filter(isShown); }
  var rows = [figure.data, drawn].map(function (traces) { return categories(traces, "y", "y", null); });
  var lines = rows[0].length;
  if (lines > rows[1].length && rows[0].every(function (name) { return typeof name === "string"; }) && !layout.yaxis2) {
    layout.height = Math.round(110 + (layout.height - 110) * Math.max(1, rows[1].length) / lines);
  }
  var own = function (trace) { return trace.meta && Object.keys(trace.meta).length > 0; };
  var left = figure.data.some(own) ? drawn.filter(own).some(hasPoints) : drawn.length > 0;
  return { data: data, layout: layout, left: left };
}

function hasPoints(trace) {
  return ["x", "y", "z", "values"].some(function (key) { return trace[key] && trace[key].length; });
}

/** What is chosen as the page's address has it behind the #, only where it is not the usual. */
function address() {
  var query = new URLSearchParams();
  if (chosen.implementation) {
    chosen.implementation.forEach(function (name) { query.append("implementation", name); });
    if (!chosen.implementation.size) { query.append("implementation", ""); }
  }
  ["spec", "routing"].forEach(function (key) { if (chosen[key]) { query.set(key, chosen[key]); } });
  if (chosen.from > 0) { query.set("from", chosen.from); }
  if (chosen.to < Infinity) { query.set("to", chosen.to); }
  Object.keys(chosen.picks).forEach(function (name) { query.set("case." + name, chosen.picks[name]); });
  if (chosen.study) { query.set("study", chosen.study); }
  if (chosen.at) { query.set("at", chosen.at); }
  return query.toString();
}

/** Take over what the address says; what it names and the page does not have is left out. */
function readAddress() {
  var fragment = location.hash.slice(1);
  var query = new URLSearchParams(fragment.indexOf("=") < 0 ? "" : fragment);
  var named = query.getAll("implementation");
  var known = named.filter(function (name) { return chips.indexOf(name) >= 0; });
  chosen.implementation = known.length || named.indexOf("") >= 0 ? new Set(known) : null;
  ["spec", "routing"].forEach(function (key) {
    var value = query.get(key);
    chosen[key] = about[key].indexOf(value) >= 0 ? value : "";
  });
  chosen.from = Number(query.get("from")) || 0;
  chosen.to = Number(query.get("to")) || Infinity;
  chosen.picks = {};
  query.forEach(function (value, key) {
    var name = key.replace(/^case\./, "");
    if (name !== key && about.sections[name] && about.sections[name][value]) { chosen.picks[name] = Number(value); }
  });
  var studies = Object.keys(about.sections).flatMap(function (name) { return about.sections[name]; });
  var study = query.get("study") || "";
  chosen.study = studies.some(function (meta) { return meta.study === study; }) ? study : "";
  chosen.at = query.get("at") || (fragment.indexOf("=") < 0 ? fragment : "");
}

/** What is left out, in words; for paper, which has no controls. */
function narrowedWords() {
  var words = [];
  if (chosen.implementation) { words.push("implementations " + (Array.from(chosen.implementation).join(", ") || "none")); }
  if (chosen.spec) { words.push("layer " + chosen.spec); }
  if (chosen.routing) { words.push("routing " + chosen.routing); }
  if (chosen.from > 0) { words.push("from " + chosen.from + " tokens"); }
  if (chosen.to < Infinity) { words.push("up to " + chosen.to + " tokens"); }
  return "Only what was chosen is in the figures and tables: " + words.join("; ") + ".";
}

/** Set the controls to what is chosen. */
function showChosen() {
  if (!bar) { return; }
  bar.querySelectorAll("[name=implementation]").forEach(function (box) {
    box.checked = !chosen.implementation || chosen.implementation.has(box.value);
  });
  ["spec", "routing"].forEach(function (key) { if (bar.elements[key]) { bar.elements[key].value = chosen[key]; } });
  if (bar.elements.from) {
    bar.elements.from.value = nearest(bar.elements.from, chosen.from);
    bar.elements.to.value = nearest(bar.elements.to, chosen.to);
  }
  bar.querySelector("[type=reset]").disabled = !isNarrowed();
}

function nearest(select, number) {
  var values = Array.from(select.options, function (option) { return Number(option.value); });
  var from = select.name === "from";
  var inside = values.filter(function (value) { return from ? value >= number : value <= number; });
  return String(inside.length ? (from ? inside[0] : inside[inside.length - 1]) : values[from ? values.length - 1 : 0]);
}

/** Choose what the controls say. */
function readControls(event) {
  var boxes = Array.from(bar.querySelectorAll("[name=implementation]"));
  var on = boxes.filter(function (box) { return box.checked; }).map(function (box) { return box.value; });
  chosen.implementation = on.length === boxes.length ? null : new Set(on);
  ["spec", "routing"].forEach(function (key) { if (bar.elements[key]) { chosen[key] = bar.elements[key].value; } });
  if (bar.elements.from) {
    var ends = [Number(bar.elements.from.value), Number(bar.elements.to.value)];
    if (ends[0] > ends[1]) {  // the end that was moved takes the other one along
      ends = event.target.name === "from" ? [ends[0], ends[0]] : [ends[1], ends[1]];
    }
    var options = bar.elements.from.options;
    chosen.from = ends[0] > Number(options[0].value) ? ends[0] : 0;
    chosen.to = ends[1] < Number(options[options.length - 1].value) ? ends[1] : Infinity;
  }
}

/** Show one implementation alone everywhere; the same one again brings back what was there before. */
function isolate(name) {
  var alone = chosen.implementation && chosen.implementation.size === 1 && chosen.implementation.has(name);
  if (!alone) { beforeIsolation = chosen.implementation; }
  chosen.implementation = alone ? beforeIsolation : new Set([name]);
  chosenChanged();
}
