// What happens when: at the start, when something is chosen, before printing.

var sections = Object.keys(about.sections);
var drawn = sections.filter(function (name) { return part("figure", name); });
var waiting = new Set(drawn);  // figures that were not drawn yet

function showMarked(item) { item.hidden = !matches(JSON.parse(item.dataset.meta)); }

/** Everything as it is chosen; figures that were not drawn yet wait for their turn. */
function showAll() {
  showChosen();
  document.querySelectorAll("[data-meta]").forEach(showMarked);
  document.querySelectorAll("tbody").forEach(showTable);
  document.querySelectorAll("[data-cases]").forEach(showCases);
  sections.forEach(function (name) {
    showVariant(name);
    if (part("figure", name) && !waiting.has(name)) { show(name); }
  });
  fillRecords();
  if (bar) {
    document.getElementById("narrowed").hidden = !isNarrowed();
  }
}

/** A table of which nothing is left is not shown, nor is the box that has nothing else. */
function showTable(body) {
  var left = Array.from(body.rows).some(function (row) { return !row.hidden; });
  var box = body.closest(".apart") || body.closest(".scroll");
  box.hidden = body.rows.length > 0 && !left;
}

/** Tables of cases: a word where none is left, and the folded ones open where the first one is not among them. */
function showCases(box) {
  var blocks = Array.from(box.querySelectorAll(".case"));
  var left = blocks.filter(function (block) { return !block.hidden; });
  box.querySelector(".nothing").hidden = left.length > 0 || !blocks.length;
  var folded = box.querySelector("details");
  if (folded && isNarrowed() && left.length && folded.contains(left[0])) { folded.open = true; }
  if (folded) { folded.hidden = !left.some(function (block) { return folded.contains(block); }); }
}

function keepAddress() { history.replaceState(null, "", location.pathname + location.search + (address() ? "#" + address() : "")); }

function chosenChanged() {
  keepAddress();
  showAll();
}

function showEverything() {
  Object.assign(chosen, { implementation: null, spec: "", routing: "", from: 0, to: Infinity, study: "", picks: {}, at: "" });
  chosenChanged();
}

/** Scroll to a part of the page, and let the address say so beside what is chosen. */
function goTo(identifier) {
  var target = document.getElementById(identifier);
  if (!target) { return; }
  chosen.at = identifier;
  keepAddress();
  target.scrollIntoView();
}

/** Draw a figure that is waiting, when its data is there. */
function drawWaiting(name) {
  return waiting.delete(name) ? show(name) : Promise.resolve();
}

/** What is near the window first, the others one after another while nobody waits for them. */
function drawInTurn() {
  var near = new IntersectionObserver(function (seen) {
    seen.forEach(function (one) {
      if (one.isIntersecting) { near.unobserve(one.target); drawWaiting(one.target.dataset.section); }
    });
  }, { rootMargin: "600px 0px" });
  drawn.forEach(function (name) { near.observe(part("figure", name).closest("section")); });
  function rest() {
    var next = waiting.values().next();
    if (next.done) { document.documentElement.dataset.drawn = "yes"; return; }
    drawWaiting(next.value).then(function () { setTimeout(rest, 0); });
  }
  setTimeout(rest, 60);
}

function pick(name, place) {
  var study = about.sections[name][place].study;
  if (study !== undefined) { chosen.study = study === usualStudy() ? "" : study; chosenChanged(); return; }
  chosen.picks[name] = place;
  if (place === about.first[name]) { delete chosen.picks[name]; }
  keepAddress();
  showVariant(name);
  if (part("figure", name)) { waiting.delete(name); show(name); }
}

function listen() {
  document.querySelectorAll("select[data-pick]").forEach(function (select) {
    select.addEventListener("change", function () { pick(select.dataset.pick, Number(select.value)); });
  });
  document.querySelectorAll("[data-sliders] input").forEach(function (slider) {
    slider.addEventListener("input", function () {
      var name = slider.closest("[data-sliders]").dataset.sliders;
      var place = JSON.parse(slider.dataset.places)[Number(slider.value)];
      if (matches(about.sections[name][place])) { pick(name, place); return; }
      chosen.routing = about.sections[name][place].routing;
      chosen.picks[name] = place;
      chosenChanged();
    });
  });
  document.querySelectorAll("[data-everything]").forEach(function (all) {
    all.addEventListener("click", showEverything);
  });
  document.querySelectorAll('a[href^="#"]').forEach(function (link) {
    link.addEventListener("click", function (event) { event.preventDefault(); goTo(link.hash.slice(1)); });
  });
  addEventListener("hashchange", function () { readAddress(); showAll(); arrive(); });
  dark.addEventListener("change", showAll);
  addEventListener("beforeprint", function () { print(true); });
  addEventListener("afterprint", function () { print(false); });
  var folded = document.getElementById("records");
  if (folded) { folded.addEventListener("toggle", fillRecords); }
  if (!bar) { return; }
  bar.hidden = false;
  bar.addEventListener("submit", function (event) { event.preventDefault(); });
  bar.addEventListener("change", function (event) { readControls(event); chosenChanged(); });
  bar.addEventListener("reset", function (event) {
    event.preventDefault();
    showEverything();
  });
}

/** On paper every table is open and every figure has a page's width; what was not unpacked yet stays out. */
function print(starts) {
  printing = starts;
  var narrowed = document.getElementById("printed");
  narrowed.hidden = !isNarrowed();
  narrowed.textContent = narrowedWords();
  document.querySelectorAll("details:not(.behind):not(#records)").forEach(function (part) {
    if (starts && !part.open) { part.dataset.opened = "yes"; part.open = true; }
    if (!starts && part.dataset.opened) { delete part.dataset.opened; part.open = false; }
  });
  drawn.forEach(function (name) { if (shownFigure(name)) { waiting.delete(name); draw(name); } });
}

/** Go where the address points; a folded part opens. */
function arrive() {
  var target = chosen.at && document.getElementById(chosen.at);
  if (!target) { return; }
  if (target.tagName === "DETAILS") { target.open = true; }
  target.scrollIntoView();
}

drawn.forEach(addTools);
readAddress();
listen();
showAll();
drawInTurn();
arrive();
