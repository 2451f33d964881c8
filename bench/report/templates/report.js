(function () {
  "use strict";
  var figures = JSON.parse(document.getElementById("figures").textContent);
  var dark = matchMedia("(prefers-color-scheme: dark)");
  var config = { responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtons: [["toImage", "resetScale2d"]] };

  function themed(layout, forPrint) {
    var style = getComputedStyle(document.documentElement);
    var colour = function (name) { return style.getPropertyValue(name).trim(); };
    var text = forPrint ? "#000" : colour("--text");
    var line = forPrint ? "#ccc" : colour("--line");
    var result = Object.assign({}, layout, {
      font: { family: style.fontFamily, size: 13, color: text },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      hoverlabel: { font: { family: style.fontFamily, size: 13 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--accent") }
    });
    Object.keys(layout).forEach(function (key) {
      if (/^[xy]axis\d*$/.test(key)) {
        result[key] = Object.assign({ gridcolor: line, linecolor: line, fixedrange: innerWidth < 640 }, layout[key]);
      }
    });
    return result;
  }

  function draw(container, forPrint) {
    var name = container.dataset.figure;
    var pick = document.querySelector('select[data-pick="' + name + '"]');
    var figure = figures[name][pick ? Number(pick.value) : 0];
    container.hidden = !figure;
    if (!figure) { Plotly.purge(container); return Promise.resolve(); }
    var layout = themed(figure.layout, forPrint);
    if (forPrint) { layout = Object.assign({ width: 700 }, layout); }
    container.style.minHeight = figure.layout.height + "px";
    return Plotly.react(container, figure.data, layout, config);
  }

  function drawAll(forPrint) {
    return Array.prototype.map.call(document.querySelectorAll("[data-figure]"), function (container) {
      return draw(container, forPrint);
    });
  }

  document.querySelectorAll("select[data-pick]").forEach(function (pick) {
    pick.addEventListener("change", function () {
      var name = pick.dataset.pick;
      var panels = document.querySelectorAll('[data-variant="' + name + '"]');
      panels.forEach(function (panel, index) { panel.hidden = index !== Number(pick.value); });
      var container = document.querySelector('[data-figure="' + name + '"]');
      var reading = panels[Number(pick.value)].querySelector(".reading").textContent;
      if (!container) { return; }
      container.setAttribute("aria-label", name + ": " + reading);
      draw(container, false);
    });
  });
  dark.addEventListener("change", function () { drawAll(false); });
  addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
    drawAll(true);
  });
  addEventListener("afterprint", function () { drawAll(false); });
  Promise.all(drawAll(false)).then(function () { document.documentElement.dataset.drawn = "yes"; });
})();
