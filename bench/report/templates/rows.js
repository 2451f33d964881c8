// The rows behind a figure, the records of the run, and what can be saved of both.

var MOST_LINES = 400;  // of a table, until more is asked for

function element(tag, text, kind) {
  var made = document.createElement(tag);
  if (text !== undefined) { made.textContent = text; }
  if (kind) { made.className = kind; }
  return made;
}

function button(text, label, action) {
  var made = element("button", text, "tool");
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", action);
  return made;
}

/** A text of Plotly as plain text: without its markup and its escapes. */
function bare(text) {
  if (typeof text !== "string" || !/[&<\u200b]/.test(text)) { return text; }
  var lines = text.replace(/\u200b/g, "").replace(/<br>/g, ", ");
  return new DOMParser().parseFromString(lines, "text/html").body.textContent;
}

/** A cell as a spreadsheet must be given it: quoted where needed, and never taken for a formula. */
function cell(value) {
  if (value === null || value === undefined) { return ""; }
  var text = String(value);
  if (/^[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]/.test(text) && !isFinite(text)) { text = "'" + text; }
  return /[",;\n\r]/.test(text) || text !== text.trim() ? '"' + text.replace(/"/g, '""') + '"' : text;
}

function csv(header, rows) {
  return [header].concat(rows).map(function (row) { return row.map(cell).join(","); }).join("\r\n") + "\r\n";
}

function save(name, content) {
  var link = document.createElement("a");
  link.download = name;
  link.setAttribute("href", typeof content === "string" ? content : URL.createObjectURL(content));
  document.documentElement.dataset.saved = name;
  document.body.append(link);
  link.click();
  link.remove();
}

function saveText(name, text) { save(name, new Blob(["\ufeff" + text], { type: "text/csv;charset=utf-8" })); }

/** Every point that is drawn, as {header, rows}: whose it is, where it is, how sure it is, and what it says. */
function pointsOf(figure) {
  var header = ["series", "implementation", "tokens", axisName(figure, "x"), axisName(figure, "y"), "below", "above", "more"];
  var rows = [];
  figure.data.filter(function (trace) { return isShown(trace) && !isDecoration(trace); }).forEach(function (trace) {
    if (trace.z) { rows.push.apply(rows, cellsOf(trace)); return; }
    var count = Math.max((trace.x || []).length, (trace.y || []).length);
    var error = trace.error_y || trace.error_x || {};
    for (var place = 0; place < count; place++) {
      if (at(trace.x, place) === null && at(trace.y, place) === null) { continue; }
      rows.push([
        bare(trace.name), at((trace.meta || {}).implementation, place), at((trace.meta || {}).tokens, place),
        trace.x ? bare(at(trace.x, place)) : number(trace.x0, 0) + place * number(trace.dx, 1),
        trace.y ? bare(at(trace.y, place)) : number(trace.y0, 0) + place * number(trace.dy, 1),
        at(error.arrayminus, place), at(error.array, place), said(trace, place)
      ]);
    }
  });
  // A series that is called as its implementation is, as most are, would say the same twice.
  if (rows.every(function (row) { return row[0] === row[1]; })) { rows.forEach(function (row) { row[0] = null; }); }
  return withoutEmpty(header, rows);
}

/** The cells of a heat map, row by row. */
function cellsOf(trace) {
  var rows = [];
  trace.z.forEach(function (line, row) {
    line.forEach(function (value, column) {
      var meta = trace.meta || {};
      rows.push([
        bare(trace.name), at(meta.implementation, row), at(meta.tokens, row), bare(at(trace.x, column)), bare(at(trace.y, row)),
        null, null, value
      ]);
    });
  });
  return rows;
}

function isDecoration(trace) { return trace.hoverinfo === "skip" && !trace.customdata; }
function number(value, other) { return typeof value === "number" ? value : other; }
function at(list, place) { return Array.isArray(list) ? (place < list.length ? list[place] : null) : list; }

function said(trace, place) {
  return [trace.customdata, trace.text].map(function (list) { return Array.isArray(list) ? list[place] : null; })
    .flat().filter(function (value) { return value !== null && value !== undefined && value !== ""; })
    .map(bare).map(String).join("; ").replace(/^, /, "");
}

function axisName(figure, letter) {
  var title = (figure.layout[letter + "axis"] || {}).title;
  return (title && bare(title.text)) || (letter === "x" ? "across" : "up");
}

/** The same without columns in which nothing stands. */
function withoutEmpty(header, rows) {
  if (!rows.length) { return { header: header, rows: rows }; }
  var full = header.map(function (_, column) {
    return rows.some(function (row) { return row[column] !== null && row[column] !== undefined && row[column] !== ""; });
  });
  var only = function (row) { return row.filter(function (_, column) { return full[column]; }); };
  return { header: only(header), rows: rows.map(only) };
}

/** A table whose rows the filter follows by their columns called as its facts are; long ones in steps. */
function tableOf(header, rows, kind) {
  var box = element("div", undefined, "scroll");
  var table = element("table", undefined, kind);
  var head = table.createTHead().insertRow();
  header.forEach(function (name) { var made = element("th", name); made.scope = "col"; head.append(made); });
  var body = table.createTBody();
  var more = button("", "more rows", function () { add(rows.length); });
  var next = 0;
  function add(count) {
    rows.slice(next, next + count).forEach(function (row) { body.append(rowOf(header, row)); });
    next = Math.min(rows.length, next + count);
    more.hidden = next >= rows.length;
    more.textContent = "the other " + (rows.length - next) + " rows";
  }
  add(MOST_LINES);
  box.tabIndex = 0;
  box.append(table, more);
  return box;
}

function rowOf(header, row) {
  var line = document.createElement("tr");
  var meta = {};
  row.forEach(function (value, column) {
    var made = element(column ? "td" : "th", value === null || value === undefined ? "–" : shortened(value));
    if (!column) { made.scope = "row"; }
    if (typeof value === "number") { made.className = "n"; }
    if (header[column] === "command") { made.className = "command"; }
    line.append(made);
    if (/^(implementation|spec|routing|tokens)$/.test(header[column])) {
      meta[header[column]] = header[column] === "tokens" ? Number(String(value).replace(/\D/g, "")) : value;
    }
  });
  line.dataset.meta = JSON.stringify(meta);
  return line;
}

function shortened(value) { return typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value); }

/** The buttons under a figure, and the rows behind it, made when they are opened. */
function addTools(name) {
  var box = part("tools", name);
  var label = part("figure", name).dataset.title;
  box.append(
    button("PNG", label + ": save as a picture", function () { savePicture(name); }),
    button("CSV", label + ": save the rows behind it", function () { saveRows(name); })
  );
  if (document.getElementById("records")) {
    var link = element("a", "the records behind it");
    link.setAttribute("href", "#records");
    link.addEventListener("click", function (event) { event.preventDefault(); showRecords(name); });
    box.append(link);
  }
  var details = element("details", undefined, "behind");
  details.dataset.behind = name;
  details.append(element("summary", "Rows behind this figure"));
  details.addEventListener("toggle", function () { if (details.open) { fillBehind(name); } });
  box.after(details);
}

function fillBehind(name) {
  var details = part("behind", name);
  if (!details || !details.open) { return; }
  var figure = shownFigure(name);
  while (details.children.length > 1) { details.lastChild.remove(); }
  if (!figure) { return; }
  var found = pointsOf(figure);
  details.append(found.rows.length ? tableOf(found.header, found.rows, "points") : element("p", "No rows.", "note"));
}

function fileName(name, end) {
  return ["mohge", about.name, name].join("-").replace(/[^A-Za-z0-9._-]+/g, "-") + end;
}

/** The rows behind a figure with what they are about in each: a row says it by itself, wherever it is taken. */
function saveRows(name) {
  var place = shownVariant(name);
  var figure = shownFigure(name);
  if (!figure) { return; }
  var found = pointsOf(figure);
  var meta = about.sections[name][place];
  var fixed = { section: name, provenance: about.provenance[name], spec: [].concat(meta.spec || []).join(" against "),
    routing: meta.routing, tokens: meta.tokens };
  var keys = Object.keys(fixed).filter(function (key) { return fixed[key] && found.header.indexOf(key) < 0; });
  var before = keys.map(function (key) { return fixed[key]; });
  saveText(fileName(name, ".csv"), csv(keys.concat(found.header), found.rows.map(function (row) { return before.concat(row); })));
}

/** A figure as a picture of twice its size on the page, on the page's background. */
function savePicture(name) {
  var figure = shownFigure(name);
  if (!figure) { return Promise.resolve(); }
  var style = getComputedStyle(document.documentElement);
  var layout = themed(figure.layout, false);
  var width = Math.max(700, part("figure", name).clientWidth);
  layout.paper_bgcolor = layout.plot_bgcolor = style.getPropertyValue("--surface").trim();
  layout.width = width;
  layout.margin = Object.assign({ l: 8, r: 12, t: 8, b: 8 }, layout.margin);
  var size = { format: "png", width: width, height: layout.height, scale: 2 };
  return Plotly.toImage({ data: figure.data, layout: layout }, size).then(function (picture) {
    document.documentElement.dataset.picture = picture.length;
    save(fileName(name, ".png"), picture);
  });
}

var records = null;  // once unpacked
var recordsOf = "";  // the section whose records are shown alone; empty for all

/** The records that are shown: those of the filter and, where a figure asked, of that figure's case. */
function recordRows() {
  var place = recordsOf && shownVariant(recordsOf);
  var meta = recordsOf && place !== undefined ? about.sections[recordsOf][place] : {};
  var column = function (key) { return records.header.indexOf(key); };
  return records.rows.filter(function (row) {
    return ["implementation", "spec", "routing", "tokens"].every(function (key) {
      var value = row[column(key)];
      var own = meta[key] === undefined || [].concat(meta[key]).indexOf(value) >= 0;
      return own && factMatches(key, value);
    });
  });
}

function fillRecords() {
  var details = document.getElementById("records");
  if (!details || !details.open) { return; }
  var ready = records ? Promise.resolve(records) : unpacked(document.getElementById("record-rows"));
  ready.then(function (found) {
    records = found;
    var rows = recordRows();
    while (details.children.length > 1) { details.lastChild.remove(); }
    var tools = element("p", rows.length + " of " + records.rows.length + " records. ", "tools");
    if (recordsOf) {
      tools.append("Only those of the figure “" + part("figure", recordsOf).dataset.title + "”. ");
      tools.append(button("all records", "all records", function () { recordsOf = ""; fillRecords(); }));
    }
    tools.append(button("CSV", "records: save as CSV", function () {
      saveText(fileName("records", ".csv"), csv(records.header, rows));
    }));
    details.append(tools, tableOf(records.header, rows, "records"));
  });
}

function showRecords(name) {
  recordsOf = name;
  var details = document.getElementById("records");
  details.open = true;
  fillRecords();
  goTo("records");
}
