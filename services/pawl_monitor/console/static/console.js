// Charts, local times, the theme and the state of the connection; everything else is the server's HTML.
(function () {
  "use strict";

  const byId = (id) => document.getElementById(id);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const fade = (hex, alpha) => hex + Math.round(alpha * 255).toString(16).padStart(2, "0");
  const clock = (seconds, precise = true) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: precise ? "2-digit" : undefined, hourCycle: "h23" });
  const day = (seconds) => {
    const time = new Date(seconds * 1000);
    return time.toLocaleDateString([], { day: "numeric", month: "short", year: time.getFullYear() === new Date().getFullYear() ? undefined : "numeric" });
  };
  const midnight = (seconds) => clock(seconds) === "00:00:00";
  // A time, with its day where that is not today.
  const moment = (seconds) => (day(seconds) === day(Date.now() / 1000) ? "" : day(seconds) + ", ") + clock(seconds);
  const percent = (value) => Math.round(value * 100) + "%";
  const MARKS = { drift: "--bad", resolved: "--good", training: "--work", canary: "--other", promoted: "--good", "rolled-back": "--bad" };

  // ---------------------------------------------------------------- times in the reader's zone

  function localise(root) {
    root.querySelectorAll("time[datetime]").forEach((node) => {
      const text = moment(new Date(node.dateTime) / 1000);
      if (node.textContent !== text) node.textContent = text;
      node.title = node.dateTime;
    });
  }

  // ---------------------------------------------------------------- charts

  let plots = [];
  let shown = "";

  function align(data) {
    const times = [...new Set([...data.champion, ...data.challenger].map((p) => p.time))].sort((a, b) => a - b);
    const columns = (points) => {
      const at = new Map(points.map((p) => [p.time, p]));
      return ["point", "low", "high"].map((name) => times.map((t) => (at.has(t) ? at.get(t)[name] : null)));
    };
    return [times, ...columns(data.champion), ...columns(data.challenger)];
  }

  function drawMarks(marks) {
    return (u) => {
      const ctx = u.ctx;
      const size = 12 * devicePixelRatio;
      ctx.save();
      ctx.font = size + "px system-ui, sans-serif";
      ctx.textBaseline = "top";
      ctx.textAlign = "left";
      let free = -Infinity, row = 0;
      for (const mark of marks) {
        const x = u.valToPos(mark.time, "x", true);
        if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
        const width = ctx.measureText(mark.label).width + 10 * devicePixelRatio;
        row = x < free ? (row + 1) % 4 : 0;
        free = Math.max(free, x + width);
        const left = x + width > u.bbox.left + u.bbox.width ? x - width : x + 5 * devicePixelRatio;
        ctx.strokeStyle = ctx.fillStyle = colour(MARKS[mark.kind]);
        ctx.lineWidth = devicePixelRatio;
        ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
        ctx.beginPath();
        ctx.moveTo(x, u.bbox.top);
        ctx.lineTo(x, u.bbox.top + u.bbox.height);
        ctx.stroke();
        ctx.setLineDash([]);
        ctx.fillStyle = fade(colour("--card"), 0.8);
        ctx.fillRect(left - 2 * devicePixelRatio, u.bbox.top + row * 1.3 * size, width - 6 * devicePixelRatio, 1.25 * size);
        ctx.fillStyle = colour(MARKS[mark.kind]);
        ctx.fillText(mark.label, left, u.bbox.top + row * 1.3 * size);
      }
      ctx.restore();
    };
  }

  function axes(values, more = {}) {
    const look = { stroke: colour("--dim"), grid: { stroke: colour("--rail"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return [{ ...look, grid: { show: false }, space: 70, size: 30, values: (u, splits) => splits.map((s) => (midnight(s) ? day(s) : clock(s, splits[1] - splits[0] < 60))) }, { ...look, size: 52, values, ...more }];
  }

  // A single point has no width: uPlot would draw it at the edge of three years.
  const LEAST_SECONDS = 20;
  const along = {
    range: (u, low, high) => {
      if (low == null) return [low, high];
      const end = u.data[0].length === 1 ? low : high;
      return end - low >= LEAST_SECONDS ? [low, end] : [(low + end - LEAST_SECONDS) / 2, (low + end + LEAST_SECONDS) / 2];
    },
  };

  function approvalPlot(node, data) {
    const line = (name, width) => ({ stroke: colour(name), width, spanGaps: true, points: { show: data.champion.length < 3, size: 5, fill: colour(name) } });
    const edge = { stroke: "transparent", width: 0, spanGaps: true, points: { show: false } };
    const champion = colour("--accent"), challenger = colour("--other");
    return new uPlot({
      width: node.clientWidth, height: node.clientHeight, padding: [6, 18, 0, 0],
      scales: { x: along, y: { range: [0, 1] } },
      axes: axes((u, splits) => splits.map(percent)),
      series: [{}, line("--accent", 2), edge, edge, line("--other", 2), edge, edge],
      bands: [{ series: [3, 2], fill: fade(champion, 0.16) }, { series: [6, 5], fill: fade(challenger, 0.18) }],
      cursor: { y: false, points: { size: 7 }, drag: { x: true, y: false } },
      hooks: { draw: [drawMarks(data.marks)], setCursor: [readout(data)] },
    }, align(data), node);
  }

  function evidencePlot(node, data) {
    const floor = 1e-7, rows = data.evidence;
    return new uPlot({
      width: node.clientWidth, height: node.clientHeight, padding: [6, 18, 0, 0],
      scales: { x: along, y: { distr: 3, range: [floor, 10] } },
      axes: axes((u, splits) => splits.map((s) => (s === 1 ? "alarm" : "10" + exponent(Math.log10(s)))), { splits: () => [1e-6, 1e-3, 1], filter: (u, splits) => splits }),
      series: [{}, { stroke: colour("--dim"), width: 1.5, points: { show: false } }],
      cursor: { show: false },
      hooks: { draw: [threshold, ...(byId("chart") ? [] : [drawMarks(data.marks)])] },
    }, [rows.map((r) => r.time), rows.map((r) => Math.min(Math.max(r.drop, floor), 10))], node);
  }

  const exponent = (n) => String(Math.round(n)).replace(/[-0-9]/g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);

  function threshold(u) {
    const y = u.valToPos(1, "y", true);
    u.ctx.save();
    u.ctx.strokeStyle = colour("--bad");
    u.ctx.lineWidth = devicePixelRatio;
    u.ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    u.ctx.beginPath();
    u.ctx.moveTo(u.bbox.left, y);
    u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
    u.ctx.stroke();
    u.ctx.restore();
  }

  function readout(data) {
    const say = (name, p) => name + " " + percent(p.point) + " (" + percent(p.low) + " to " + percent(p.high) + "), " + p.n + (p.n === 1 ? " session" : " sessions");
    return (u) => {
      const time = u.cursor.idx == null ? null : u.data[0][u.cursor.idx];
      const find = (points) => points.findLast((p) => p.time === time); // the one that is drawn
      const parts = [["champion", find(data.champion)], ["candidate", find(data.challenger)]].filter((pair) => pair[1]);
      byId("readout").textContent = parts.length ? moment(time) + " · " + parts.map((pair) => say(...pair)).join(" · ") : "";
    };
  }

  function table(data) {
    const cells = (tag, values) => "<tr>" + values.map((v) => "<" + tag + ">" + v + "</" + tag + ">").join("") + "</tr>";
    const rows = [...data.champion.map((p) => ["champion", p]), ...data.challenger.map((p) => ["candidate", p])];
    rows.sort((a, b) => b[1].time - a[1].time);
    const body = rows.map(([arm, p]) => cells("td", [moment(p.time), arm, percent(p.point), percent(p.low) + " to " + percent(p.high), p.n]));
    byId("chart-table").innerHTML = "<table><thead>" + cells("th", ["Time", "Who", "Approval", "Interval", "Sessions"]) + "</thead><tbody>" + body.join("") + "</tbody></table>";
  }

  function draw() {
    const source = byId("chart-data");
    if (!source) return;
    const text = source.textContent;
    if (text === shown) return;
    shown = text;
    const data = JSON.parse(text);
    plots.forEach((plot) => plot.destroy());
    plots = [];
    const chart = byId("chart"), evidence = byId("evidence");
    if (chart) chart.closest("figure").hidden = !data.champion.length;
    if (chart && data.champion.length) plots.push(approvalPlot(chart, data));
    evidence.closest("figure").hidden = !data.evidence.length;
    if (chart) byId("evidence-title").hidden = !data.evidence.length;
    if (data.evidence.length) plots.push(evidencePlot(evidence, data));
    if (chart) table(data);
  }

  function redraw() {
    shown = "";
    draw();
  }

  // ---------------------------------------------------------------- theme and connection

  const THEMES = ["auto", "light", "dark"];

  function theme(next) {
    const root = document.documentElement, button = byId("theme");
    if (next === "auto") delete root.dataset.theme;
    else if (next) root.dataset.theme = next;
    const now = root.dataset.theme || "auto";
    try {
      localStorage.setItem("pawl-theme", now);
    } catch (error) {
      // not remembered, then
    }
    button.textContent = now[0].toUpperCase() + now.slice(1);
    button.setAttribute("aria-label", button.textContent + (now === "auto" ? ": the colour theme follows the system" : " colour theme"));
    if (next) redraw();
  }

  function connection(state, text) {
    const node = byId("live");
    if (!node || node.dataset.state === state) return;
    node.dataset.state = state;
    node.textContent = text;
  }

  byId("theme").addEventListener("click", () => {
    const now = document.documentElement.dataset.theme || "auto";
    theme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
  });
  document.body.addEventListener("htmx:sseOpen", () => connection("live", "Live"));
  document.body.addEventListener("htmx:sseError", async () => {
    connection("away", "Reconnecting");
    try {
      if ((await fetch("/api/models")).status === 401) location.reload(); // the login is over: on to its page
    } catch (error) {
      // the monitor is away: the feed comes back by itself
    }
  });
  document.body.addEventListener("htmx:sseMessage", (event) => {
    localise(event.target);
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 120);
  });
  theme("");
  localise(document);
  draw();
})();
