// Sets the colours before anything is drawn. A script of its own that blocks, because a module
// would run after the first paint and flash.
'use strict';

(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem('pghaul-theme');
  } catch {
    // Storage can be forbidden; then the system decides.
  }
  if (chosen === 'light' || chosen === 'dark') {
    document.documentElement.dataset.theme = chosen;
  }
})();
