// The box in the heading ticks all on the page, and how many are ticked is said. Without this script each is ticked by hand.
(() => {
  const boxes = [...document.querySelectorAll("input[name=ticked]")];
  const all = document.querySelector("[data-tick-all]");
  const said = document.querySelector("[data-ticked]");
  const which = document.getElementById("which-ticked");
  if (!boxes.length || !all || !said || !which) return;
  const show = () => {
    const count = boxes.filter((box) => box.checked).length;
    all.checked = count === boxes.length;
    all.indeterminate = count > 0 && count < boxes.length;
    said.textContent = count ? ` (${count})` : "";
  };
  const ticked = () => {
    which.checked = true;
    show();
  };
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    ticked();
  });
  for (const box of boxes) box.addEventListener("change", ticked);
  window.addEventListener("pageshow", show);
})();
