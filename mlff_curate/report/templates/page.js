(function () {
  "use strict";
  if (typeof Plotly === "undefined") return;
  const figures = JSON.parse(document.getElementById("report-data").textContent);
  const config = {
    responsive: true,
    displaylogo: false,
    // The page sends nothing anywhere.
    showSendToCloud: false,
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };

  // Machines without WebGL (remote desktops, some virtual machines) get the same points as SVG.
  const canvas = document.createElement("canvas");
  const webgl = Boolean(canvas.getContext("webgl"));
  const kind = (gl) => (gl && webgl ? "scattergl" : "scatter");

  function mapTraces(map, view, gl) {
    return map.views[view].map((trace) => ({
      type: kind(gl),
      mode: "markers",
      name: trace.name || "",
      showlegend: trace.name !== null,
      legendgroup: trace.legend,
      x: trace.points.map((i) => map.x[i]),
      y: trace.points.map((i) => map.y[i]),
      text: trace.points.map((i) => map.text[i]),
      hovertemplate: "%{text}<extra></extra>",
      marker: { color: trace.color, symbol: trace.symbol, size: map.size, opacity: 0.85 },
    }));
  }

  const plainTraces = (figure, gl) =>
    figure.data.map((t) => (t.type === "scattergl" ? { ...t, type: kind(gl) } : t));

  function draw(gl) {
    for (const [id, figure] of Object.entries(figures)) {
      const chosen = document.querySelector("input[name=view]:checked");
      const data = id === "map" ? mapTraces(figure, chosen ? chosen.value : "decision", gl) : plainTraces(figure, gl);
      Plotly.react(id, data, figure.layout, config);
    }
  }

  draw(true);
  for (const input of document.querySelectorAll("input[name=view]")) {
    input.addEventListener("change", () => {
      Plotly.react("map", mapTraces(figures.map, input.value, true), figures.map.layout, config);
    });
  }
})();
