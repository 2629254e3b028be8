(function () {
  "use strict";
  const table = document.getElementById("findings");
  const form = document.getElementById("filters");
  if (!table || !form) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const text = (row, column) => row.cells[column].textContent.trim();

  function filter() {
    const severities = new Set(Array.from(form.querySelectorAll("[name=severity]:checked"), (box) => box.value));
    const rule = form.elements.rule.value;
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const all = row.textContent.toLowerCase();
      const wanted =
        severities.has(text(row, 0)) && (!rule || text(row, 1) === rule) && words.every((word) => all.includes(word));
      row.hidden = !wanted;
      shown += wanted;
    }
    form.querySelector("output").textContent = `${shown} of ${rows.length} shown`;
  }

  function order(column, descending) {
    const numeric = rows.every((row) => text(row, column) === "" || !Number.isNaN(Number(text(row, column))));
    const value = (row) => (numeric ? Number(text(row, column) || -Infinity) : text(row, column));
    const sorted = rows.slice().sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0));
    body.append(...(descending ? sorted.reverse() : sorted));
  }

  table.querySelectorAll("th[data-sort]").forEach((head, column) => {
    head.tabIndex = 0;
    const sort = () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      order(column, descending);
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  });
  for (const link of document.querySelectorAll("a.rule")) {
    link.addEventListener("click", () => {
      form.elements.rule.value = link.dataset.rule;
      form.elements.words.value = "";
      for (const box of form.querySelectorAll("[name=severity]")) box.checked = box.value === link.dataset.severity;
      filter();
    });
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
})();
