// Under “More”: the options of a challenge only where that challenge is chosen. Without this script all are shown.
(() => {
  const challenge = document.getElementById("id_challenge");
  const parts = document.querySelectorAll("[data-shown-for]");
  if (!challenge) return;
  const choose = () => {
    for (const part of parts) part.hidden = part.dataset.shownFor !== challenge.value;
  };
  challenge.addEventListener("change", choose);
  choose();
})();
