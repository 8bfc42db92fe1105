"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const numeric = head.classList.contains("number");
      const key = (row) => {
        const cell = row.cells[column];
        const value = cell.dataset.value ?? cell.textContent.trim();
        return numeric ? Number.parseFloat(value) : value;
      };
      const order = (a, b) => {
        if (!numeric) return a.localeCompare(b);
        if (Number.isNaN(a) || Number.isNaN(b)) return 0;
        return a - b;
      };
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort(([a, x], [b, y]) => {
        const missing = numeric ? Number.isNaN(a) - Number.isNaN(b) : 0;
        return missing || (down ? order(b, a) : order(a, b));
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
for (const field of document.querySelectorAll("input[data-table]")) {
  const rows = [...document.getElementById(field.dataset.table).tBodies[0].rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const count = document.getElementById(field.getAttribute("aria-describedby"));
  const search = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    rows.forEach((row, index) => {
      row.hidden = !words.every((word) => texts[index].includes(word));
      left += !row.hidden;
    });
    count.textContent = words.length ? left + " of " + rows.length : "";
  };
  field.addEventListener("input", search);
  field.closest(".search").hidden = false;
}
