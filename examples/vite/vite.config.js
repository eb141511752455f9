import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `rx-agui` stands outside of this folder until it is installed from a registry.
export default defineConfig({ plugins: [react()], resolve: { preserveSymlinks: true } });
