// Drawing: which variant of a section is shown, in which colours, and when.

var dark = matchMedia("(prefers-color-scheme: dark)");
var config = { responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtons: [["resetScale2d"]] };
var printing = false;
var figures = {};  // of each section: figures and words by the place of their variant, as far as they are unpacked

function selector(kind, value) { return "[data-" + kind + '="' + CSS.escape(value) + '"]'; }
function part(kind, name) { return document.querySelector(selector(kind, name)); }

/** The JSON of a script element, unpacked where it is compressed; a promise. */
function unpacked(element) {
  if (!("packed" in element.dataset)) { return Promise.resolve(JSON.parse(element.textContent)); }
  var text = atob(element.textContent);
  var bytes = Uint8Array.from(text, function (letter) { return letter.charCodeAt(0); });
  var stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text().then(JSON.parse);
}

/** Unpack what the variant that a section shows is made of; a promise. Long sections are unpacked in parts. */
function load(name) {
  var place = shownVariant(name);
  var known = figures[name] = figures[name] || { figures: {}, words: {} };
  if (place === undefined || place in known.figures) { return Promise.resolve(); }
  var firsts = about.blocks[name];
  var block = firsts.filter(function (first) { return first <= place; }).length - 1;
  return unpacked(document.getElementById("figures-" + name + (block ? "-" + block : ""))).then(function (found) {
    found.figures.forEach(function (figure, at) { known.figures[firsts[block] + at] = figure; });
    Object.assign(known.words, found.words);
  });
}

/** Show a section's variant and draw its figure, once its data is there; a promise. */
function show(name) {
  return load(name).then(function () {
    showVariant(name);
    return draw(name);
  }).then(function () { fillBehind(name); });
}

/** The title of an axis in lines that a phone has room for. */
function inLines(title) {
  return title.split(" ").reduce(function (lines, word) {
    var last = lines[lines.length - 1];
    if (last && (last + " " + word).length <= 26) { lines[lines.length - 1] = last + " " + word; } else { lines.push(word); }
    return lines;
  }, []).join("<br>");
}

/** A layout in the page's colours, or in those of paper. */
function themed(layout, forPrint) {
  var style = getComputedStyle(document.documentElement);
  var colour = function (name) { return style.getPropertyValue(name).trim(); };
  var text = forPrint ? "#000" : colour("--text");
  var line = forPrint ? "#ccc" : colour("--line");
  var result = Object.assign({}, layout, {
    font: { family: style.fontFamily, size: 13, color: text },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { font: { family: style.fontFamily, size: 13 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--accent") },
    legend: Object.assign({ itemclick: "toggleothers", itemdoubleclick: "toggle" }, layout.legend)
  });
  Object.keys(layout).forEach(function (key) {
    if (!/^[xy]axis\d*$/.test(key)) { return; }
    result[key] = Object.assign({ gridcolor: line, linecolor: line, fixedrange: innerWidth < 640 }, layout[key]);
    var title = layout[key].title;
    if (title && innerWidth < 640) { result[key].title = Object.assign({}, title, { text: inLines(title.text) }); }
  });
  return result;
}

/** The study that all sections of tuning show: the one picked in any of them, else the first one's of the first. */
function usualStudy() {
  var first = Object.keys(about.sections).find(function (name) { return about.sections[name][0].study !== undefined; });
  return first && about.sections[first][about.first[first]].study;
}

/** The place of the variant that a section shows: the one picked, else the usual one, else the first that matches.
 * Where studies are to be chosen from, one choice holds for all sections of them: what has none of it shows nothing. */
function shownVariant(name) {
  var metas = about.sections[name];
  var studied = metas[0].study !== undefined;
  var study = studied ? metas.findIndex(function (meta) { return meta.study === (chosen.study || usualStudy()); }) : -1;
  if (studied && chosen.study && study < 0) { return undefined; }
  var wanted = [chosen.picks[name], study < 0 ? undefined : study, about.first[name]];
  wanted = wanted.concat(Object.keys(metas).map(Number));
  return wanted.find(function (place) { return place !== undefined && matches(metas[place]); });
}

/** The figure that a section shows under the filter; undefined where it shows none. */
function shownFigure(name) {
  var place = shownVariant(name);
  var figure = place === undefined || !figures[name] ? null : figures[name].figures[place];
  return figure ? filtered(figure) : undefined;
}

function draw(name) {
  var container = part("figure", name);
  var figure = shownFigure(name);
  var left = figure && figure.left !== false;
  part("nothing", name).hidden = shownVariant(name) !== undefined && (!figure || left);
  container.hidden = part("tools", name).hidden = part("behind", name).hidden = !left;
  if (!left) { Plotly.purge(container); delete container.dataset.bound; return Promise.resolve(); }
  var layout = themed(figure.layout, printing);
  // On paper all are alike wide; without autosize they would stay so afterwards.
  layout = Object.assign(printing ? { width: 700 } : { autosize: true }, layout);
  container.style.minHeight = figure.layout.height + "px";
  return Plotly.react(container, figure.data, layout, config).then(function () {
    if (!container.dataset.bound) { bindLegend(container); }
  });
}

/** A click on an implementation in a legend shows it alone, everywhere; Plotly does the same for any other entry. */
function bindLegend(container) {
  container.dataset.bound = "yes";
  container.on("plotly_legendclick", function (event) {
    var name = (event.data[event.curveNumber].meta || {}).implementation;
    if (typeof name !== "string" || chips.length < 2 || chips.indexOf(name) < 0) { return true; }
    isolate(name);
    return false;
  });
}

/** The words of a section's shown variant, its choices and its slider, as the filter leaves them. */
function showVariant(name) {
  var place = shownVariant(name);
  var pick = part("pick", name);
  if (pick) {
    Array.from(pick.options).forEach(function (option, index) {
      option.hidden = option.disabled = !matches(about.sections[name][index]);
    });
    if (place !== undefined) { pick.value = String(place); }
    pick.closest("label").hidden = place === undefined;
  }
  document.querySelectorAll(selector("variant", name)).forEach(function (panel) {
    panel.hidden = Number(panel.dataset.place) !== place;
  });
  var container = part("figure", name);
  if (!container) { part("nothing", name).hidden = place !== undefined; }
  if (place === undefined) { return; }
  var panel = document.querySelector(selector("variant", name) + selector("place", String(place))) || latePanel(name, place);
  if (container && panel) {
    container.setAttribute("aria-label", container.dataset.title + ": " + panel.querySelector(".reading").textContent);
  }
  showSliders(name, place);
}

/** A panel that was left out of the page's text for its length, made of its data; null until that is unpacked. */
function latePanel(name, place) {
  var words = figures[name] && figures[name].words[place];
  if (!words) { return null; }
  var panel = document.createElement("div");
  panel.dataset.variant = name;
  panel.dataset.place = place;
  panel.append(element("p", words.reading, "reading"));
  if (words.rows.length) { panel.append(tableOf(words.header, words.rows, name)); }
  words.remarks.forEach(function (remark) { panel.append(element("p", remark, "note")); });
  part("panels", name).append(panel);
  panel.querySelectorAll("[data-meta]").forEach(showMarked);
  return panel;
}

/** For every number that the shown variant shares all else with others but for: a slider through them. */
function showSliders(name, place) {
  var box = part("sliders", name);
  if (!box) { return; }
  var metas = about.sections[name];
  ["skew", "step"].forEach(function (key) {
    var same = Object.keys(metas).map(Number).filter(function (other) {
      return metas[place][key] !== undefined && metas[other][key] !== undefined && alike(name, place, other, key);
    });
    same.sort(function (one, other) { return metas[one][key] - metas[other][key]; });
    var slider = box.querySelector('[name="' + key + '"]');
    slider.closest("label").hidden = same.length < 2;
    if (same.length < 2) { return; }
    slider.max = same.length - 1;
    slider.value = same.indexOf(place);
    slider.dataset.places = JSON.stringify(same);
    slider.setAttribute("aria-valuetext", String(metas[place][key]));
    slider.nextElementSibling.textContent = String(metas[place][key]);
  });
}

function alike(name, place, other, key) {
  var options = part("pick", name).options;
  var bare = function (at) {
    var meta = Object.assign({}, about.sections[name][at]);
    var number = key === "skew" ? String(meta.routing) : "step " + meta.step;
    var label = options[at].text.split(number).join("");
    delete meta[key];
    if (key === "skew") { delete meta.routing; }
    return label + JSON.stringify(meta);
  };
  var routing = chosen.routing;
  chosen.routing = key === "skew" ? "" : routing;  // a slider through routings is not held by the one chosen above
  var fits = matches(about.sections[name][other]);
  chosen.routing = routing;
  return fits && bare(place) === bare(other);
}
