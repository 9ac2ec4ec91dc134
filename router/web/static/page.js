// What the page does beside what htmx does: it says when the gateway is away, and draws the charts.
"use strict";
(() => {
  const away = document.getElementById("away");
  const notice = document.getElementById("notice");
  let awaySince = null;

  const isLive = (element) => element?.hasAttribute?.("data-live");
  const clock = (date) => date.toLocaleTimeString([], { hour12: false });

  function sayAway(sentence) {
    awaySince ??= new Date();
    const text = `${sentence} What is shown is from ${clock(awaySince)}; it is tried again every few seconds.`;
    if (away.textContent !== text) away.textContent = text;
    away.hidden = false;
    document.body.classList.add("is-away");
  }

  function sayBack() {
    if (awaySince === null) return;
    awaySince = null;
    away.hidden = true;
    document.body.classList.remove("is-away");
  }

  function sayNotice(sentence) {
    const line = document.createElement("p");
    line.className = "notice bad";
    line.textContent = sentence;
    notice.replaceChildren(line);
  }

  function refusal(context) {
    try {
      return JSON.parse(context.text).error;
    } catch {
      return `It answers with status ${context.response.status}`;
    }
  }

  // Nobody looks: nothing is asked for.
  document.addEventListener("htmx:before:request", (event) => {
    if (document.hidden && isLive(event.detail.ctx.sourceElement)) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) document.dispatchEvent(new CustomEvent("look"));
  });

  document.addEventListener("htmx:after:request", (event) => {
    const context = event.detail.ctx;
    const status = context.response.status;
    const isRefused = [401, 403, 429].includes(status) || status >= 500;
    if (isLive(context.sourceElement)) {
      if (isRefused) sayAway(`The gateway does not show this now: ${refusal(context)}.`);
      else sayBack();
    } else if (isRefused) {
      sayNotice(`Not done: ${refusal(context)}.`);
    }
  });
  document.addEventListener("htmx:error", (event) => {
    const source = event.detail.ctx?.sourceElement;
    if (isLive(source)) sayAway("The gateway does not answer.");
    else if (source) sayNotice("Not done, or not known to be done: the gateway does not answer.");
  });

  // Charts

  const charts = [];
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function seconds(values) {
    return values.map((s) => (s === 0 ? "now" : `${Math.round(s / 60)} min`));
  }

  function make(place, columns) {
    const axis = { stroke: style("--dim"), grid: { stroke: style("--line"), width: 1 }, ticks: { show: false } };
    const curve = (label, colour) => ({
      label,
      stroke: style(colour),
      fill: `${style(colour)}22`,
      width: 1.75,
      points: { show: false },
    });
    return new uPlot(
      {
        width: place.clientWidth,
        height: 150,
        padding: [8, 22, 0, 0],
        cursor: { y: false, drag: { x: false, y: false } },
        legend: { show: false },
        scales: {
          x: { time: false, range: [-900, 0] },
          y: { range: (_plot, _low, high) => [0, Math.max(1, high * 1.1)] },
        },
        axes: [
          { ...axis, size: 26, splits: () => [-900, -600, -300, 0], values: (_plot, values) => seconds(values) },
          { ...axis, size: 44, space: 36 },
        ],
        series: [{}, curve("in", "--received"), curve("out", "--delivered")],
      },
      columns,
      place,
    );
  }

  function draw() {
    const flow = document.getElementById("flow");
    if (flow === null) return;
    JSON.parse(flow.dataset.flow).forEach((columns, index) => {
      const place = document.getElementById(`chart-${index}`);
      if (charts[index]?.root.isConnected) charts[index].setData(columns);
      else charts[index] = make(place, columns);
    });
  }

  function drawAnew() {
    charts.splice(0).forEach((chart) => chart.destroy());
    draw();
  }

  document.addEventListener("htmx:after:swap", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAnew);
  addEventListener("resize", () => {
    charts.forEach((chart) => chart.setSize({ width: chart.root.parentElement.clientWidth, height: 150 }));
  });
  draw();
})();
